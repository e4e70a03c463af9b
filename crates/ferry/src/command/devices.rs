//! `attach-device`, `attach-disk`, `attach-interface`, `detach-…`, `change-media`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use api::{AttachRequest, DetachRequest, Device, Domain, MediaRequest, Scope};
use client::ClientError;

use super::Desk;
use super::define::read;
use crate::args::{
    AttachDisk, AttachInterface, ChangeMedia, DetachDisk, DetachInterface, OneDevice, ScopeWords,
};
use crate::device;
use crate::failure::{Exit, Failure};

/// What a change is made to.
fn scope(typed: &ScopeWords) -> Scope {
    match (typed.persistent, typed.live, typed.config) {
        (true, _, _) => Scope::Persistent,
        (false, true, true) => Scope::Both,
        (false, true, false) => Scope::Live,
        (false, false, true) => Scope::Config,
        (false, false, false) => Scope::Current,
    }
}

/// A path as the agent reads it. On another host it must be given whole: it is not this host's.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    Ok(std::path::absolute(path).with_context(|| format!("cannot resolve {}", path.display()))?)
}

pub(super) async fn attach_device(desk: &Desk<'_>, typed: &OneDevice) -> Result<Exit, Failure> {
    let (path, xml) = read(&typed.file)?;
    attach(desk, &typed.domain, xml, scope(&typed.scope), path).await
}

pub(super) async fn attach_disk(desk: &Desk<'_>, typed: &AttachDisk) -> Result<Exit, Failure> {
    let xml = device::disk(typed, &absolute(&typed.source)?);
    attach(desk, &typed.domain, xml, scope(&typed.scope), "the disk as asked for".to_owned()).await
}

pub(super) async fn attach_interface(desk: &Desk<'_>, typed: &AttachInterface) -> Result<Exit, Failure> {
    let xml = device::interface(typed);
    attach(desk, &typed.domain, xml, scope(&typed.scope), "the interface as asked for".to_owned()).await
}

async fn attach(
    desk: &Desk<'_>,
    domain: &str,
    xml: String,
    scope: Scope,
    path: String,
) -> Result<Exit, Failure> {
    let request = AttachRequest { xml, scope };
    match desk.client.attach(domain, &request).await {
        Ok(domain) => Ok(tell(desk, &domain, "The device is attached")),
        Err(ClientError::Problem(problem)) => {
            Err(Failure::Definition { problem: Box::new(problem), path, xml: request.xml })
        }
        Err(error) => Err(error.into()),
    }
}

fn tell(desk: &Desk<'_>, domain: &Domain, done: &str) -> Exit {
    desk.printer.answer(domain, |_| format!("{done}: domain {}.\n", domain.name));
    Exit::Done
}

pub(super) async fn detach_device(desk: &Desk<'_>, typed: &OneDevice) -> Result<Exit, Failure> {
    let (_path, xml) = read(&typed.file)?;
    detach(desk, &typed.domain, Device::Xml(xml), &typed.scope).await
}

pub(super) async fn detach_disk(desk: &Desk<'_>, typed: &DetachDisk) -> Result<Exit, Failure> {
    detach(desk, &typed.domain, Device::Disk(typed.target.clone()), &typed.scope).await
}

pub(super) async fn detach_interface(desk: &Desk<'_>, typed: &DetachInterface) -> Result<Exit, Failure> {
    detach(desk, &typed.domain, Device::Interface(typed.mac.clone()), &typed.scope).await
}

async fn detach(desk: &Desk<'_>, domain: &str, device: Device, words: &ScopeWords) -> Result<Exit, Failure> {
    let request = DetachRequest { device, scope: scope(words) };
    let domain = desk.client.detach(domain, &request).await?;
    Ok(tell(desk, &domain, "The device is detached"))
}

pub(super) async fn change_media(desk: &Desk<'_>, typed: &ChangeMedia) -> Result<Exit, Failure> {
    let source = typed.file.as_deref().map(absolute).transpose()?;
    let request = MediaRequest {
        target: typed.target.clone(),
        source: source.map(|path| path.to_string_lossy().into_owned()),
        force: typed.force,
        scope: scope(&typed.scope),
    };
    let domain = desk.client.change_media(&typed.domain, &request).await?;
    Ok(tell(desk, &domain, if typed.eject { "The drive is empty" } else { "The medium is changed" }))
}
