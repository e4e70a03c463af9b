//! Disk images, through qemu-img alone. It never guesses a format, never opens a backing file and never
//! writes over a file that exists. The main type is [`Image`].

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use crate::disk::{DiskError, DiskKind, check_absolute, open_check};
use crate::fresh::{Fresh, file_operation};
use crate::limits::{COPY_TIMEOUT, QEMU_IMG_OUTPUT_BYTES_MAX, QEMU_IMG_TIMEOUT, SNAPSHOT_TIMEOUT};
use crate::nfs;

/// The program; found in `PATH`.
const QEMU_IMG: &str = "qemu-img";

/// The image formats that domains use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ImageFormat {
    /// QEMU's format with snapshots, backing files and room that is taken when written.
    Qcow2,
    /// The bytes of the disk and nothing else.
    Raw,
}

impl ImageFormat {
    /// QEMU's name of it (`BlockdevDriver`).
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ImageFormat::Qcow2 => "qcow2",
            ImageFormat::Raw => "raw",
        }
    }
}

impl fmt::Display for ImageFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an image's header says (QEMU's qapi `ImageInfo`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The size of the disk that the guest sees, in bytes.
    pub virtual_size: u64,
    /// Bytes that the file takes on its filesystem, holes not counted; `None` where the filesystem does not say.
    pub actual_size: Option<u64>,
    /// The format it was read as.
    pub format: ImageFormat,
    /// The backing file as the header writes it, relative to the image's directory if not absolute.
    /// It was *not* opened; an image from somewhere else may name any file of this host.
    pub backing: Option<PathBuf>,
    /// The format of the backing file as the header writes it; none where it says none.
    pub backing_format: Option<String>,
    /// The external data file as the header writes it; not opened either.
    pub data_file: Option<PathBuf>,
    /// Set on a qcow2 image that was not closed in order, or that QEMU has open now.
    pub dirty: bool,
    /// Set on a qcow2 image that QEMU has found broken: it must be repaired before use.
    pub corrupt: bool,
    /// Set where QEMU can open it with a secret only.
    pub encrypted: bool,
    /// Its internal snapshots, in the order in which they were made.
    pub snapshots: Vec<Snapshot>,
}

/// A snapshot inside an image (QEMU's qapi `SnapshotInfo`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Snapshot {
    /// Its name. QEMU allows two of one name.
    pub name: String,
    /// Seconds since 1970 when it was made.
    pub date_sec: u64,
    /// Bytes of the guest's memory that were saved with it; 0 where it was shut off.
    pub vm_state_size: u64,
}

/// Why qemu-img could not tell about or make an image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The path, or the disk behind it.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A file is there where one was to be made.
    #[error("{path:?} exists already and is not written over: choose another name or remove it")]
    Exists {
        /// The image's path.
        path: PathBuf,
    },
    /// The program is not there.
    #[error("cannot start {QEMU_IMG}: install it (Debian and Ubuntu: package qemu-utils)")]
    NoQemuImg {
        /// Why not.
        source: io::Error,
    },
    /// The program said no.
    #[error("{QEMU_IMG} cannot {step} {path:?} as {format} ({status}): {message}")]
    Refused {
        /// "read", "create".
        step: &'static str,
        /// The image's path.
        path: PathBuf,
        /// The format it was told.
        format: ImageFormat,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote to its standard error.
        message: String,
    },
    /// The program did not end.
    #[error(
        "{QEMU_IMG} did not {step} {path:?} within {} s and was killed: is the server of its mount reachable?",
        after.as_secs_f32()
    )]
    TimedOut {
        /// "read", "create".
        step: &'static str,
        /// The image's path.
        path: PathBuf,
        /// How long was waited.
        after: Duration,
    },
    /// A chain of backing files without an end.
    #[error("the images above and below {path:?} stand on each other in a circle, or are more than {limit}")]
    Chain {
        /// Where the chain was left.
        path: PathBuf,
        /// How many were looked at.
        limit: usize,
    },
    /// An image below another cannot be opened.
    #[error("the image {path:?} stands on {below:?}")]
    Below {
        /// The image that names it.
        path: PathBuf,
        /// The one below.
        below: PathBuf,
        /// Why not.
        source: Box<ImageError>,
    },
    /// The program's answer is not what QEMU documents.
    #[error("{QEMU_IMG} told something about {path:?} that is not QEMU's ImageInfo")]
    Answer {
        /// The image's path.
        path: PathBuf,
        /// Where it differs.
        source: serde_json::Error,
    },
    /// The pipe to the program failed.
    #[error("lost {QEMU_IMG} while it was to {step} {path:?}")]
    Io {
        /// "read", "create".
        step: &'static str,
        /// The image's path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// Reads the header of the image at `path` as `format`, also while a QEMU has it open (`qemu-img info -U`).
/// Reading anything as [`ImageFormat::Raw`] works. `path` may be `nfs://HOST/PATH`: then QEMU's own NFS client reads it.
///
/// # Errors
/// Every [`ImageError`] but `Exists` and `Chain`.
pub async fn image(path: &Path, format: ImageFormat) -> Result<Image, ImageError> {
    let over_nfs = nfs::split(path).map(|(host, file)| over_nfs(host, file, format));
    let (named, name) = match &over_nfs {
        Some(options) => (&[][..], OsStr::new(options)),
        None => {
            check_absolute(path)?;
            (&["-f", format.as_str()][..], path.as_os_str())
        }
    };
    let arguments = ["info", "--output=json", "-U"].iter().chain(named).chain(&["--"]).map(OsStr::new);
    let arguments: Vec<&OsStr> = arguments.chain([name]).collect();
    let purpose = Purpose { step: "read", path, format };
    let answer = run(QEMU_IMG, QEMU_IMG_TIMEOUT, purpose, &arguments).await?;
    parse(&answer, format).map_err(|source| ImageError::Answer { path: path.to_owned(), source })
}

/// An image on an NFS server by its options (QEMU's qapi `BlockdevOptionsNfs`): in a URL some characters of a path would
/// mean something else.
fn over_nfs(host: &str, file: &str, format: ImageFormat) -> String {
    let server = json!({ "type": "inet", "host": host });
    let file = json!({ "driver": "nfs", "server": server, "path": file });
    format!("json:{}", json!({ "driver": format.as_str(), "file": file }))
}

/// Creates an empty qcow2 image of `virtual_size` bytes (rounded up to a multiple of 512 by qemu-img), mode
/// 0600. Nothing is left behind if it fails.
///
/// # Errors
/// [`ImageError::Exists`], and as [`image()`].
pub async fn create_qcow2(path: &Path, virtual_size: u64) -> Result<(), ImageError> {
    create(path, virtual_size, ImageFormat::Qcow2).await
}

/// Creates an empty image of `virtual_size` bytes (rounded up to a multiple of 512 by qemu-img), mode 0600; a raw one
/// is a hole. It has its name only once it is complete, and nothing is left behind if it fails.
///
/// # Errors
/// As [`create_qcow2`].
pub async fn create(path: &Path, virtual_size: u64, format: ImageFormat) -> Result<(), ImageError> {
    let fresh = Fresh::begin(path).await?;
    let size = virtual_size.to_string();
    let arguments = ["create", "-q", "-f", format.as_str(), "--"].map(OsStr::new);
    let arguments = [&arguments[..], &[fresh.temporary().as_os_str(), OsStr::new(&size)]].concat();
    let purpose = Purpose { step: "create", path, format };
    let created = run(QEMU_IMG, QEMU_IMG_TIMEOUT, purpose, &arguments).await;
    fresh.finish_if(created.map(drop)).await
}

/// Copies an image that nobody writes to, in the same format and with its holes; what it takes from a backing file
/// becomes its own, and its snapshots are left out. Nothing is left behind if it fails.
///
/// # Errors
/// As [`create_qcow2`]; [`ImageError::Refused`] also while a QEMU has it open.
pub async fn copy(from: &Path, to: &Path, format: ImageFormat) -> Result<(), ImageError> {
    check_absolute(from)?;
    let fresh = Fresh::begin(to).await?;
    let arguments = ["convert", "-q", "-f", format.as_str(), "-O", format.as_str(), "--"].map(OsStr::new);
    let arguments = [&arguments[..], &[from.as_os_str(), fresh.temporary().as_os_str()]].concat();
    let purpose = Purpose { step: "copy", path: from, format };
    let copied = run(QEMU_IMG, COPY_TIMEOUT, purpose, &arguments).await;
    fresh.finish_if(copied.map(drop)).await
}

/// Gives an image that nobody has open another size, in bytes; one that is shrunk loses its end, and only `shrink` allows
/// that. Its backing files are opened: the caller has looked at them ([`crate::below`]).
///
/// # Errors
/// As [`image()`]; [`ImageError::Refused`] also while a QEMU has it open.
pub async fn resize(
    path: &Path,
    virtual_size: u64,
    format: ImageFormat,
    shrink: bool,
) -> Result<(), ImageError> {
    check_absolute(path)?;
    let size = virtual_size.to_string();
    let mut arguments = ["resize", "-q", "-f", format.as_str()].map(OsStr::new).to_vec();
    if shrink {
        arguments.push(OsStr::new("--shrink"));
    }
    arguments.extend([OsStr::new("--"), path.as_os_str(), OsStr::new(&size)]);
    let purpose = Purpose { step: "resize", path, format };
    run(QEMU_IMG, SNAPSHOT_TIMEOUT, purpose, &arguments).await.map(drop)
}

/// Changes what the qcow2 image at `path`, which nobody has open, says it stands on; its content and `backing` are not
/// looked at. A relative `backing` is meant from the image's directory.
///
/// # Errors
/// As [`image()`]; [`ImageError::Refused`] also while a QEMU has it open.
pub async fn rebase(path: &Path, backing: &Path, backing_format: ImageFormat) -> Result<(), ImageError> {
    check_absolute(path)?;
    let arguments =
        ["rebase", "-q", "-u", "-f", "qcow2", "-F", backing_format.as_str(), "-b"].map(OsStr::new);
    let names = [backing.as_os_str(), OsStr::new("--"), path.as_os_str()];
    let purpose = Purpose { step: "rebase", path, format: ImageFormat::Qcow2 };
    run(QEMU_IMG, QEMU_IMG_TIMEOUT, purpose, &[&arguments[..], &names].concat()).await.map(drop)
}

/// Whether no QEMU has the image at `path` open for writing (`qemu-img info` without `-U` asks for its lock).
///
/// # Errors
/// As [`image()`]; [`ImageError::Refused`] where one has, with QEMU's words about the lock.
pub async fn check_unused(path: &Path, format: ImageFormat) -> Result<(), ImageError> {
    check_absolute(path)?;
    let arguments = ["info", "-f", format.as_str(), "--"].map(OsStr::new);
    let arguments = [&arguments[..], &[path.as_os_str()]].concat();
    run(QEMU_IMG, QEMU_IMG_TIMEOUT, Purpose { step: "lock", path, format }, &arguments).await.map(drop)
}

/// What is done with a snapshot inside a qcow2 image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotVerb {
    /// Keep the image's content as it is now under a name.
    Create,
    /// Make that content the image's again.
    Revert,
    /// Forget it.
    Delete,
}

/// Works on the snapshot `name` of the qcow2 image at `path`. A name of digits only is taken for an id by qemu-img:
/// none is ever to be made.
///
/// # Errors
/// As [`image()`]; [`ImageError::Refused`] also while a QEMU has it open.
pub async fn snapshot(path: &Path, verb: SnapshotVerb, name: &str) -> Result<(), ImageError> {
    let (step, switch) = match verb {
        SnapshotVerb::Create => ("make a snapshot of", "-c"),
        SnapshotVerb::Revert => ("revert", "-a"),
        SnapshotVerb::Delete => ("delete a snapshot of", "-d"),
    };
    let driver = match open_check(path, true).await?.kind {
        DiskKind::File => "file",
        DiskKind::BlockDevice => "host_device",
    };
    // Without these options qemu-img would guess the format from what a guest has written.
    let mut options = OsString::from(format!("driver=qcow2,file.driver={driver},file.filename="));
    for byte in path.as_os_str().as_bytes() {
        options.push(OsStr::from_bytes(if *byte == b',' { b",," } else { std::slice::from_ref(byte) }));
    }
    let arguments = ["snapshot", "-q", switch, name, "--image-opts"].map(OsStr::new);
    let arguments = [&arguments[..], &[&options]].concat();
    let purpose = Purpose { step, path, format: ImageFormat::Qcow2 };
    run(QEMU_IMG, SNAPSHOT_TIMEOUT, purpose, &arguments).await.map(drop)
}

/// Makes a directory for images, and those above it, where it is missing: as libvirt's, only root lists what is in it.
///
/// # Errors
/// [`ImageError::Disk`], [`ImageError::TimedOut`].
pub async fn make_directory(path: &Path) -> Result<(), ImageError> {
    let owned = path.to_owned();
    let make = move || std::fs::DirBuilder::new().recursive(true).mode(0o711).create(owned);
    file_operation("create", path, make).await
}

/// Removes an image.
///
/// # Errors
/// [`ImageError::Disk`], [`ImageError::TimedOut`].
pub async fn remove(path: &Path) -> Result<(), ImageError> {
    let owned = path.to_owned();
    file_operation("remove", path, move || std::fs::remove_file(owned)).await
}

/// What one run of the program is for; every error of it says so.
#[derive(Clone, Copy)]
struct Purpose<'a> {
    step: &'static str,
    path: &'a Path,
    format: ImageFormat,
}

/// Runs the program and gives what it printed. It is killed if the caller goes away or the time is over.
async fn run(
    program: &str,
    within: Duration,
    Purpose { step, path, format }: Purpose<'_>,
    arguments: &[&OsStr],
) -> Result<Vec<u8>, ImageError> {
    let mut child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| ImageError::NoQemuImg { source })?;
    let lost = |source| ImageError::Io { step, path: path.to_owned(), source };
    let output = child.stdout.take().expect("the pipe was asked for");
    let errors = child.stderr.take().expect("the pipe was asked for");
    let ended = tokio::time::timeout(within, async {
        // Both at once, or a program that fills one pipe would wait for ever. A pipe that is read to the
        // limit is closed, which ends a program that has still more to say.
        let (printed, complained) = tokio::join!(read_to_limit(output), read_to_limit(errors));
        Ok((child.wait().await?, printed?, complained?))
    });
    let (status, printed, complained) = match ended.await {
        Ok(ended) => ended.map_err(lost)?,
        Err(_elapsed) => return Err(ImageError::TimedOut { step, path: path.to_owned(), after: within }),
    };
    if status.success() {
        return Ok(printed);
    }
    let message = String::from_utf8_lossy(&complained);
    let message = message.trim().trim_start_matches("qemu-img: ").to_owned();
    Err(ImageError::Refused { step, path: path.to_owned(), format, status, message })
}

async fn read_to_limit(pipe: impl AsyncRead + Unpin) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    pipe.take(QEMU_IMG_OUTPUT_BYTES_MAX).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

/// The part of QEMU's `ImageInfo` that is used.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ImageInfo {
    virtual_size: u64,
    actual_size: Option<u64>,
    backing_filename: Option<PathBuf>,
    backing_filename_format: Option<String>,
    #[serde(default)]
    dirty_flag: bool,
    #[serde(default)]
    encrypted: bool,
    #[serde(default)]
    snapshots: Vec<Snapshot>,
    format_specific: Option<FormatSpecific>,
}

/// `ImageInfoSpecific`; `data` differs by format, and only qcow2's is looked into.
#[derive(Deserialize)]
struct FormatSpecific {
    #[serde(default)]
    data: Qcow2Specific,
}

/// `ImageInfoSpecificQCow2`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Qcow2Specific {
    data_file: Option<PathBuf>,
    corrupt: bool,
}

fn parse(answer: &[u8], format: ImageFormat) -> Result<Image, serde_json::Error> {
    let info: ImageInfo = serde_json::from_slice(answer)?;
    let specific = match format {
        ImageFormat::Qcow2 => info.format_specific.map(|specific| specific.data).unwrap_or_default(),
        ImageFormat::Raw => Qcow2Specific::default(),
    };
    Ok(Image {
        virtual_size: info.virtual_size,
        actual_size: info.actual_size,
        format,
        backing: info.backing_filename,
        backing_format: info.backing_filename_format,
        data_file: specific.data_file,
        dirty: info.dirty_flag,
        corrupt: specific.corrupt,
        encrypted: info.encrypted,
        snapshots: info.snapshots,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(answer: &str, expect: Result<Image, &str>) {
        let got = parse(answer.as_bytes(), ImageFormat::Qcow2).map_err(|error| error.to_string());
        assert_eq!(got, expect.map_err(str::to_owned));
    }

    const PLAIN: Image = Image {
        virtual_size: 1_048_576,
        actual_size: Some(200_704),
        format: ImageFormat::Qcow2,
        backing: None,
        backing_format: None,
        data_file: None,
        dirty: false,
        corrupt: false,
        encrypted: false,
        snapshots: Vec::new(),
    };

    #[test]
    fn snapshots_are_read() {
        check(
            r#"{"virtual-size": 1048576, "actual-size": 200704, "snapshots": [{"icount": 1, "vm-clock-nsec": 0,
                "name": "clean", "date-sec": 1767225600, "date-nsec": 5, "vm-clock-sec": 0, "id": "1",
                "vm-state-size": 7}]}"#,
            Ok(Image {
                snapshots: vec![Snapshot { name: "clean".into(), date_sec: 1_767_225_600, vm_state_size: 7 }],
                ..PLAIN
            }),
        );
    }

    #[test]
    fn an_answer_is_read() {
        check(
            r#"{"virtual-size": 1048576, "filename": "/d/a", "cluster-size": 65536, "format": "qcow2",
                "actual-size": 200704, "format-specific": {"type": "qcow2", "data": {"compat": "1.1",
                "compression-type": "zlib", "lazy-refcounts": false, "refcount-bits": 16, "corrupt": false,
                "extended-l2": false}}, "dirty-flag": false}"#,
            Ok(PLAIN),
        );
    }

    #[test]
    fn what_an_image_points_at_is_told() {
        check(
            r#"{"virtual-size": 1048576, "actual-size": 200704, "backing-filename": "../base.img",
                "backing-filename-format": "raw",
                "full-backing-filename": "/base.img", "format-specific": {"type": "qcow2", "data":
                {"data-file": "/etc/shadow", "data-file-raw": true, "corrupt": true}}, "dirty-flag": true}"#,
            Ok(Image {
                backing: Some("../base.img".into()),
                backing_format: Some("raw".to_owned()),
                data_file: Some("/etc/shadow".into()),
                dirty: true,
                corrupt: true,
                ..PLAIN
            }),
        );
    }

    #[test]
    fn an_answer_without_a_size_is_none() {
        check("{}", Err("missing field `virtual-size` at line 1 column 2"));
        check("", Err("EOF while parsing a value at line 1 column 0"));
    }

    fn purpose() -> Purpose<'static> {
        Purpose { step: "read", path: Path::new("/d/a"), format: ImageFormat::Raw }
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_ended() {
        let within = Duration::from_millis(50);
        let error = run("sleep", within, purpose(), &[OsStr::new("1000")]).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "qemu-img did not read \"/d/a\" within 0.05 s and was killed: is the server of its mount reachable?"
        );
    }

    #[tokio::test]
    async fn a_program_that_says_too_much_is_ended() {
        let error = run("yes", QEMU_IMG_TIMEOUT, purpose(), &[]).await.unwrap_err();
        assert!(matches!(error, ImageError::Refused { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let error = run("no-such-program", QEMU_IMG_TIMEOUT, purpose(), &[]).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot start qemu-img: install it (Debian and Ubuntu: package qemu-utils)"
        );
    }
}
