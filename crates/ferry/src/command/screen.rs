//! `vncdisplay`, `screenshot`: what a guest shows.

use std::path::{Path, PathBuf};

use anyhow::Context;
use jiff::Timestamp;
use serde_json::json;

use super::Desk;
use crate::args::Screenshot;
use crate::failure::{Exit, Failure};
use crate::printer;

pub(super) async fn vncdisplay(desk: &Desk<'_>, domain: &str) -> Result<Exit, Failure> {
    let vnc = desk.client.vnc(domain).await?;
    desk.printer.answer(&vnc, |_| printer::vnc(&vnc));
    Ok(Exit::Done)
}

pub(super) async fn screenshot(desk: &Desk<'_>, typed: &Screenshot) -> Result<Exit, Failure> {
    let picture = desk.client.screenshot(&typed.domain).await?;
    if typed.file.as_deref() == Some(Path::new("-")) {
        printer::out_bytes(&picture);
        return Ok(Exit::Done);
    }
    let file = typed.file.clone().unwrap_or_else(|| name(&typed.domain, &picture, Timestamp::now()));
    std::fs::write(&file, &picture).with_context(|| format!("cannot write {}", file.display()))?;
    let answer = json!({ "file": file, "bytes": picture.len() });
    desk.printer.answer(&answer, |_| format!("The screen of {} is in {}.\n", typed.domain, file.display()));
    Ok(Exit::Done)
}

/// A file name that tells the domain, the time and the format (PNG, section 5.2: how every file of it begins).
fn name(domain: &str, picture: &[u8], at: Timestamp) -> PathBuf {
    let extension = if picture.starts_with(b"\x89PNG\r\n\x1a\n") { "png" } else { "ppm" };
    format!("{}-{}.{extension}", domain.replace('/', "_"), at.strftime("%Y%m%dT%H%M%SZ")).into()
}

#[cfg(test)]
mod tests {
    use super::name;
    use jiff::Timestamp;
    use std::path::PathBuf;

    #[test]
    fn names() {
        let at = Timestamp::UNIX_EPOCH;
        assert_eq!(
            name("web1", b"\x89PNG\r\n\x1a\n and more", at),
            PathBuf::from("web1-19700101T000000Z.png")
        );
        assert_eq!(name("../web1", b"P6\n", at), PathBuf::from(".._web1-19700101T000000Z.ppm"));
    }
}
