//! `snapshot`, `clone`, `import`: what works on the disks of a domain that is shut off.

use std::path::Path;

use api::{CloneRequest, ImportRequest, Imported};
use client::ClientError;
use serde_json::json;

use super::{Desk, define};
use crate::args::{Clone, Import, Snapshot};
use crate::failure::{Exit, Failure};
use crate::printer;

pub(super) async fn snapshot(desk: &Desk<'_>, typed: &Snapshot) -> Result<Exit, Failure> {
    match typed {
        Snapshot::Create(typed) => {
            let made = desk.client.create_snapshot(&typed.domain, typed.name.as_str()).await?;
            desk.printer.answer(&made, |_| {
                format!("Snapshot {} of {} is made: {}.\n", made.name, typed.domain, made.disks.join(", "))
            });
        }
        Snapshot::List(typed) => {
            let snapshots = desk.client.snapshots(&typed.domain).await?;
            desk.printer.answer(&snapshots, |width| printer::snapshots(&snapshots, width));
        }
        Snapshot::Revert(typed) => {
            let found = desk.client.revert_snapshot(&typed.domain, &typed.name).await?;
            desk.printer.answer(&found, |_| {
                format!("The disks of {} are as they were at {}.\n", typed.domain, found.created_at)
            });
        }
        Snapshot::Delete(typed) => {
            desk.client.delete_snapshot(&typed.domain, &typed.name).await?;
            let deleted = json!({ "deleted": typed.name });
            desk.printer.answer(&deleted, |_| format!("Snapshot {} is deleted.\n", typed.name));
        }
    }
    Ok(Exit::Done)
}

pub(super) async fn clone(desk: &Desk<'_>, typed: &Clone) -> Result<Exit, Failure> {
    let request = CloneRequest { name: typed.name.clone(), files: typed.file.iter().cloned().collect() };
    let cloned = desk.client.clone_domain(&typed.domain, &request).await?;
    desk.printer.answer(&cloned, |_| {
        let disks = cloned.disks.iter().map(|disk| format!("  {}: {}\n", disk.target, disk.source));
        format!("Domain {} is cloned as {}.\n{}", typed.domain, cloned.name, disks.collect::<String>())
    });
    Ok(Exit::Done)
}

pub(super) async fn import(desk: &Desk<'_>, typed: &Import) -> Result<Exit, Failure> {
    let imported = match typed.what.strip_prefix("libvirt:") {
        Some(name) => desk.client.import(&ImportRequest::Libvirt(name.to_owned())).await?,
        None => {
            let (path, xml) = define::read(Path::new(&typed.what))?;
            let imported = desk.client.import(&ImportRequest::Xml(xml.clone())).await;
            imported.map_err(|error| refused(error, path, xml))?
        }
    };
    desk.printer.answer(&imported, |width| told(&imported, width));
    Ok(Exit::Done)
}

/// Only what is wrong with the text is shown in it.
fn refused(error: ClientError, path: String, xml: String) -> Failure {
    match error {
        ClientError::Problem(problem) if problem.details.iter().any(|detail| detail.line.is_some()) => {
            define::refused(ClientError::Problem(problem), path, xml)
        }
        error => error.into(),
    }
}

fn told(imported: &Imported, width: usize) -> String {
    let name = &imported.domain.name;
    let mut text = format!("Domain {name} is defined here, with its disks in place.\n");
    for note in &imported.notes {
        text.push_str(&printer::wrap(note, "  • ", "    ", width));
    }
    if imported.in_libvirt {
        let autostart = if imported.libvirt_autostart { ", and starts it when the host boots" } else { "" };
        let still =
            format!("libvirt still has its definition{autostart}. So that it is not started there, too:");
        text.push_str(&printer::wrap(&still, "", "", width));
        text.push_str(&format!("  virsh undefine {name} --keep-nvram\n"));
    }
    text
}
