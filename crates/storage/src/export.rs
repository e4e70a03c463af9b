//! A chain of images as one file with the bytes that a guest sees: QEMU's own code reads and writes the images
//! (qemu-storage-daemon(1), its FUSE export), and holes stay holes. It decides nothing of what is in them. Main type:
//! [`Export`].

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::mount::UnmountFlags;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use crate::bounded;
use crate::disk::{DiskError, DiskKind, open_check};
use crate::image::ImageFormat;
use crate::limits::{DISK_TIMEOUT, EXPORT_OUTPUT_BYTES_MAX, QEMU_IMG_TIMEOUT};

/// The program; found in `PATH`.
const DAEMON: &str = "qemu-storage-daemon";

/// What is said to it at the end (QEMU's qapi `quit`): it writes back what it has, and unmounts.
const QUIT: &[u8] = b"{\"execute\":\"qmp_capabilities\"}{\"execute\":\"quit\"}\n";

/// Why a chain cannot be seen as a file.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// One of the images.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The program is not there.
    #[error(
        "cannot start {DAEMON}: install it (Debian and Ubuntu: packages qemu-system-common and util-linux)"
    )]
    NoDaemon {
        /// Why not.
        source: io::Error,
    },
    /// The program said no.
    #[error("{DAEMON} cannot show {path:?}: {message}")]
    Refused {
        /// The uppermost image.
        path: PathBuf,
        /// What it wrote to its standard error.
        message: String,
    },
    /// The program did not answer, or did not end.
    #[error("{DAEMON} did not {step} {path:?} within {} s: is the server of its mount reachable?", after.as_secs_f32())]
    TimedOut {
        /// "show", "close".
        step: &'static str,
        /// The uppermost image.
        path: PathBuf,
        /// How long was waited.
        after: Duration,
    },
    /// Any other failure.
    #[error("cannot {step} {path:?}")]
    Io {
        /// "create", "close" …
        step: &'static str,
        /// The image, or the file that shows it.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// An image of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Where it lies.
    pub path: PathBuf,
    /// What it is read as; never guessed.
    pub format: ImageFormat,
}

/// A chain that is seen as a file. Dropped, the file is gone; only [`Export::end`] makes sure that what was written is whole.
#[derive(Debug)]
pub struct Export {
    daemon: Child,
    output: BufReader<ChildStdout>,
    image: PathBuf,
    place: PathBuf,
}

impl Drop for Export {
    fn drop(&mut self) {
        clear_export(&self.place);
    }
}

/// Takes away what shows an image, as a process that was killed leaves it. It is gone already where its program has ended in
/// order; the mount of one that was killed answers nothing but ENOTCONN.
pub fn clear_export(place: &Path) {
    let _ = rustix::mount::unmount(place, UnmountFlags::DETACH);
    let _ = std::fs::remove_file(place);
}

impl Export {
    /// Shows a chain at `place`, for reading; its images are opened in no other way than the chain says, the uppermost
    /// first. Nobody may write to them. The place is the caller's alone: what a process that was killed left there goes.
    ///
    /// # Errors
    /// Every [`ExportError`].
    ///
    /// # Panics
    /// Where the chain is empty.
    pub async fn read(chain: &[Link], place: &Path) -> Result<Export, ExportError> {
        let mut node = Value::Null;
        for link in chain.iter().rev() {
            node = self::node(link, node, json!({ "read-only": true })).await?;
        }
        let top = chain.first().expect("a chain has an image");
        show(&top.path, place, node, false).await
    }

    /// Shows an image that stands on nothing at `place`, for reading and writing past the page cache. What is zero in it
    /// becomes a hole. The place is as for [`Export::read`].
    ///
    /// # Errors
    /// Every [`ExportError`].
    pub async fn write(image: &Link, place: &Path) -> Result<Export, ExportError> {
        let options = json!({ "discard": "unmap", "detect-zeroes": "unmap", "cache": { "direct": true } });
        let node = node(image, Value::Null, options).await?;
        show(&image.path, place, node, true).await
    }

    /// Shows an image that holds nothing at `place` and ends that: whether this host can show any.
    ///
    /// # Errors
    /// [`ExportError::NoDaemon`], [`ExportError::Refused`], [`ExportError::TimedOut`], [`ExportError::Io`].
    pub async fn try_out(place: &Path) -> Result<(), ExportError> {
        let nothing = json!({ "driver": "null-co", "size": 512, "read-zeroes": true });
        show(place, place, nothing, false).await?.end().await
    }

    /// The file that shows it.
    #[must_use]
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Ends it. What was written is on the disk then, if it was fsynced.
    ///
    /// # Errors
    /// [`ExportError::TimedOut`], after which it is killed; [`ExportError::Refused`], [`ExportError::Io`].
    pub async fn end(mut self) -> Result<(), ExportError> {
        let image = self.image.clone();
        let lost = |source| ExportError::Io { step: "close", path: image.clone(), source };
        let mut input = self.daemon.stdin.take().expect("the pipe was asked for");
        let ended = tokio::time::timeout(QEMU_IMG_TIMEOUT, async {
            input.write_all(QUIT).await?;
            // Its answers, which say no more than that it ends.
            (&mut self.output).take(EXPORT_OUTPUT_BYTES_MAX).read_to_end(&mut Vec::new()).await?;
            self.daemon.wait().await
        });
        match ended.await {
            Ok(status) if status.as_ref().is_ok_and(|status| status.success()) => Ok(()),
            Ok(status) => {
                Err(ExportError::Refused { path: image.clone(), message: status.map_err(lost)?.to_string() })
            }
            Err(_elapsed) => {
                Err(ExportError::TimedOut { step: "close", path: image, after: QEMU_IMG_TIMEOUT })
            }
        }
    }
}

/// A node of QEMU's block layer (qapi `BlockdevOptions`): an image on what lies below it.
async fn node(link: &Link, below: Value, options: Value) -> Result<Value, ExportError> {
    let driver = match open_check(&link.path, false).await?.kind {
        DiskKind::File => "file",
        DiskKind::BlockDevice => "host_device",
    };
    let mut file = options;
    file["driver"] = driver.into();
    file["filename"] = link.path.to_string_lossy().into();
    let mut node = json!({ "driver": link.format.as_str(), "file": file });
    for option in ["read-only", "discard", "detect-zeroes", "cache"] {
        if let Some(value) = node["file"].get(option).cloned() {
            node[option] = value;
        }
    }
    if link.format == ImageFormat::Qcow2 {
        node["backing"] = below;
    }
    Ok(node)
}

async fn show(image: &Path, place: &Path, mut node: Value, writable: bool) -> Result<Export, ExportError> {
    node["node-name"] = "top".into();
    let export = json!({ "type": "fuse", "id": "file", "node-name": "top", "mountpoint": place.to_string_lossy(),
        "writable": writable, "allow-other": "off" });
    let failed = |step, path: &Path| {
        let path = path.to_owned();
        move |source| ExportError::Io { step, path, source }
    };
    let owned = place.to_owned();
    let made = bounded::run(DISK_TIMEOUT, move || {
        clear_export(&owned);
        File::create_new(owned)
    })
    .await;
    match made {
        Ok(made) => drop(made.map_err(failed("create", place))?),
        Err(_) => {
            return Err(ExportError::TimedOut { step: "show", path: image.to_owned(), after: DISK_TIMEOUT });
        }
    }
    // Whoever starts it may be killed: it ends then, too, and in order.
    let mut daemon = Command::new("setpriv")
        .args(["--pdeathsig", "TERM", "--", DAEMON])
        .args(["--blockdev", &node.to_string(), "--export", &export.to_string()])
        .args(["--chardev", "stdio,id=control", "--monitor", "chardev=control"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| ExportError::NoDaemon { source })?;
    let output = BufReader::new(daemon.stdout.take().expect("the pipe was asked for"));
    let complaint = daemon.stderr.take().expect("the pipe was asked for");
    let mut export = Export { daemon, output, image: image.to_owned(), place: place.to_owned() };
    // It greets when everything that it was told is in place, and ends when something cannot be.
    let greeted = tokio::time::timeout(QEMU_IMG_TIMEOUT, async {
        let (mut greeting, mut message) = (String::new(), String::new());
        if export.output.read_line(&mut greeting).await? == 0 {
            complaint.take(EXPORT_OUTPUT_BYTES_MAX).read_to_string(&mut message).await?;
        }
        io::Result::Ok(message)
    });
    match greeted.await {
        Ok(Ok(message)) if message.is_empty() => Ok(export),
        Ok(Ok(message)) => {
            let message = message.trim().trim_start_matches("qemu-storage-daemon: ").to_owned();
            Err(ExportError::Refused { path: image.to_owned(), message })
        }
        Ok(Err(source)) => Err(failed("show", image)(source)),
        Err(_elapsed) => {
            Err(ExportError::TimedOut { step: "show", path: image.to_owned(), after: QEMU_IMG_TIMEOUT })
        }
    }
}
