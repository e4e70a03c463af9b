//! A QEMU that is not what it is: what it says over QMP goes through a filter. Main function: [`lying`].

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::Result;
use lab::Lab;
use lab::host::Host;

/// In QEMU's place: QEMU gets a socket of its own, and who asks on the one that it was given hears what is left of the
/// answers. Each answer is a line.
const FILTER: &str = r#"#!/usr/bin/perl
use strict;
use IO::Socket::UNIX;
my $real = "/tmp/ferry-lies-$$.sock";
my ($given) = map { /fd=(\d+),server/ ? $1 : () } @ARGV;
s/fd=\d+,server/path=$real,server/ for @ARGV;
my $parent = $$;
if (fork) { exec "/usr/bin/qemu-system-x86_64", @ARGV }
my $qemu;
until ($qemu = IO::Socket::UNIX->new(Peer => $real)) { exit if getppid() != $parent; select undef, undef, undef, 0.01 }
unlink $real;
my $asked = IO::Socket::UNIX->new_from_fd($given, "r+")->accept;
if (fork) {
    while (my $answer = <$qemu>) { $_ = $answer; LIE; syswrite $asked, $_ }
    shutdown $asked, 2;
} else {
    my $words;
    while (sysread $asked, $words, 65536) { syswrite $qemu, $words }
    shutdown $qemu, 2;
}
"#;

/// Has a host's QEMU lie while `look` looks: `lie` changes an answer, as in `s/this/that/`.
pub(crate) fn lying(lab: &Lab, host: &Host, lie: &str, look: impl FnOnce() -> Result<()>) -> Result<()> {
    let path: PathBuf = lab.directory().join("qemu-lying");
    fs::write(&path, FILTER.replace("LIE", lie))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    host.configured(|before| format!("emulators = [{path:?}]\n{before}"), look)?;
    Ok(fs::remove_file(path)?)
}
