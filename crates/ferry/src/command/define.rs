//! `create FILE`, `define`, `undefine`, `dumpxml`: definitions go in and come out byte for byte.

use std::io::Read;
use std::path::Path;

use anyhow::Context;
use api::Nvram;
use client::ClientError;
use serde_json::json;

use super::Desk;
use crate::args::{Define, Dumpxml, Undefine};
use crate::failure::{Exit, Failure};
use crate::limits::XML_BYTES_MAX;
use crate::printer;

pub(super) async fn define(desk: &Desk<'_>, typed: &Define) -> Result<Exit, Failure> {
    let (path, xml) = read(&typed.file)?;
    let defined = desk.client.define(xml.as_str()).await;
    let domain = defined.map_err(|error| refused(error, path, xml))?;
    desk.printer.answer(&domain, |_| format!("Domain {} is defined.\n", domain.name));
    Ok(Exit::Done)
}

/// A domain that is not kept.
pub(super) async fn create_from(desk: &Desk<'_>, file: &Path) -> Result<Exit, Failure> {
    let (path, xml) = read(file)?;
    let created = desk.client.create(xml.as_str()).await;
    let domain = created.map_err(|error| refused(error, path, xml))?;
    desk.printer.answer(&domain, |_| {
        format!("Domain {} is {}; it is forgotten when it ends.\n", domain.name, printer::state(domain.state))
    });
    Ok(Exit::Done)
}

/// A refusal of a definition is shown with the lines that it is about.
pub(super) fn refused(error: ClientError, path: String, xml: String) -> Failure {
    match error {
        ClientError::Problem(problem) => Failure::Definition { problem: Box::new(problem), path, xml },
        error => error.into(),
    }
}

/// The text of a file and its name for messages.
pub(super) fn read(file: &Path) -> anyhow::Result<(String, String)> {
    let (name, stream): (String, Box<dyn Read>) = if file == Path::new("-") {
        ("standard input".to_owned(), Box::new(std::io::stdin().lock()))
    } else {
        let name = file.display().to_string();
        let opened = std::fs::File::open(file).with_context(|| format!("cannot open {name}"))?;
        (name, Box::new(opened))
    };
    let mut bytes = Vec::new();
    stream.take(XML_BYTES_MAX + 1).read_to_end(&mut bytes).with_context(|| format!("cannot read {name}"))?;
    if bytes.len() as u64 > XML_BYTES_MAX {
        anyhow::bail!("{name} is longer than {XML_BYTES_MAX} bytes; this is no domain definition");
    }
    let xml = String::from_utf8(bytes).with_context(|| {
        format!("{name} is not UTF-8; save it as UTF-8, whatever its XML declaration says")
    })?;
    Ok((name, xml))
}

pub(super) async fn undefine(desk: &Desk<'_>, typed: &Undefine) -> Result<Exit, Failure> {
    let domain = &typed.domain;
    let nvram = match (typed.nvram, typed.keep_nvram) {
        (true, _) => Some(Nvram::Remove),
        (false, true) => Some(Nvram::Keep),
        (false, false) => None,
    };
    desk.client.undefine(domain, nvram).await?;
    desk.printer.answer(&json!({ "undefined": domain }), |_| format!("Domain {domain} is undefined.\n"));
    Ok(Exit::Done)
}

pub(super) async fn dumpxml(desk: &Desk<'_>, typed: &Dumpxml) -> Result<Exit, Failure> {
    let xml = match typed.inactive {
        true => desk.client.inactive_xml(&typed.domain).await?,
        false => desk.client.xml(&typed.domain).await?,
    };
    if desk.printer.json() {
        desk.printer.line(&json!({ "xml": xml }));
    } else {
        printer::out(&xml);
    }
    Ok(Exit::Done)
}
