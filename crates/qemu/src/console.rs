//! The host's end of a guest's serial port or console, where somebody can type into it: the pseudo terminal or the
//! listening socket that QEMU says it has (`query-chardev`). It never decides who may. Main type: [`Place`].

use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

/// Where QEMU's end of a character device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A pseudo terminal, which QEMU has made raw.
    Pty(PathBuf),
    /// A Unix socket on which QEMU listens. It serves one connection at a time.
    Socket(PathBuf),
}

/// What the guest says.
pub type Output = Box<dyn AsyncRead + Send + Unpin>;
/// What it is told.
pub type Input = Box<dyn AsyncWrite + Send + Unpin>;

impl Place {
    /// Reads QAPI `ChardevInfo.filename`; `None` where nobody can type into it, as a file.
    pub fn of(filename: &str) -> Option<Self> {
        if let Some(path) = filename.strip_prefix("pty:") {
            return Some(Self::Pty(path.into()));
        }
        let socket = filename.strip_prefix("disconnected:").unwrap_or(filename).strip_prefix("unix:")?;
        let (path, _server) = socket.rsplit_once(",server")?;
        Some(Self::Socket(path.into()))
    }

    /// Opens both directions. The output ends, with or without an error, when QEMU closes its end.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn open(&self) -> io::Result<(Output, Input)> {
        match self {
            Self::Pty(path) => {
                let flags = rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::NONBLOCK;
                let flags = flags.bits().cast_signed();
                let terminal =
                    std::fs::File::options().read(true).write(true).custom_flags(flags).open(path)?;
                // A terminal is waited for as a pipe is: readable, writable, hung up.
                let input = pipe::Sender::from_file_unchecked(terminal.try_clone()?)?;
                let output = pipe::Receiver::from_file_unchecked(terminal)?;
                Ok((Box::new(output), Box::new(input)))
            }
            Self::Socket(path) => {
                let (output, input) = UnixStream::connect(path).await?.into_split();
                Ok((Box::new(output), Box::new(input)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::Place;

    #[track_caller]
    fn check(filename: &str, expect: Option<Place>) {
        assert_eq!(Place::of(filename), expect, "{filename}");
    }

    #[test]
    fn places_are_read_from_qemus_words() {
        check("pty:/dev/pts/3", Some(Place::Pty("/dev/pts/3".into())));
        let socket = || Some(Place::Socket("/run/a,b.sock".into()));
        check("unix:/run/a,b.sock,server=on", socket());
        check("disconnected:unix:/run/a,b.sock,server=on", socket());
        for none in ["file", "disconnected:unix:/run/a.sock", "udp:127.0.0.1:5 <-> 0.0.0.0:6", "null", ""] {
            check(none, None);
        }
    }

    /// A pseudo terminal: QEMU's end and the path of the other.
    fn terminal() -> (std::fs::File, Place) {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let master: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let mut raw = rustix::termios::tcgetattr(&master).unwrap();
        raw.make_raw();
        rustix::termios::tcsetattr(&master, rustix::termios::OptionalActions::Now, &raw).unwrap();
        (master.into(), Place::Pty(path.into()))
    }

    #[tokio::test]
    async fn a_pty_is_talked_to_until_qemu_closes_it() {
        use std::io::{Read, Write};
        let (mut qemu, place) = terminal();
        let (mut output, mut input) = place.open().await.unwrap();
        input.write_all(b"ls\r").await.unwrap();
        let mut told = [0; 3];
        qemu.read_exact(&mut told).unwrap();
        assert_eq!(&told, b"ls\r");
        qemu.write_all(b"bin etc").unwrap();
        let mut heard = [0; 7];
        output.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"bin etc");
        drop(qemu);
        // Linux gives EIO for a terminal whose other end is gone.
        assert!(matches!(output.read(&mut heard).await, Ok(0) | Err(_)));
    }
}
