//! `vol`: the volumes of a pool, and their bytes on the way there and back.

use std::io::IsTerminal;
use std::path::Path;

use anyhow::Context;
use api::{VolumeFormat, VolumeRequest, VolumeSizeRequest};
use futures_util::TryStreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio_util::io::ReaderStream;

use super::Desk;
use crate::args::{FormatWord, OneVolume, Transfer, Vol};
use crate::failure::{Exit, Failure};
use crate::limits::TRANSFER_BUFFER_BYTES;
use crate::measure::bytes;
use crate::printer;

pub(super) async fn volume(desk: &Desk<'_>, typed: &Vol) -> Result<Exit, Failure> {
    match typed {
        Vol::List(typed) => {
            let volumes = desk.client.volumes(&typed.pool).await?;
            desk.printer.answer(&volumes, |width| printer::pools::volumes(&volumes, width));
        }
        Vol::Create(typed) => {
            let request = VolumeRequest {
                name: typed.one.volume.clone(),
                capacity_bytes: typed.capacity_bytes,
                format: match typed.format {
                    FormatWord::Qcow2 => VolumeFormat::Qcow2,
                    FormatWord::Raw => VolumeFormat::Raw,
                },
            };
            let made = desk.client.create_volume(&typed.one.pool, &request).await?;
            desk.printer.answer(&made, |_| format!("Volume {} is made: {}.\n", made.name, made.path));
        }
        Vol::Delete(OneVolume { pool, volume }) => {
            desk.client.delete_volume(pool, volume).await?;
            desk.printer.answer(&json!({ "deleted": volume }), |_| format!("Volume {volume} is deleted.\n"));
        }
        Vol::Info(OneVolume { pool, volume }) => {
            let volume = desk.client.volume(pool, volume).await?;
            desk.printer.answer(&volume, |width| printer::pools::volume(&volume, width));
        }
        Vol::Resize(typed) => {
            let request = VolumeSizeRequest { capacity_bytes: typed.capacity_bytes, shrink: typed.shrink };
            let OneVolume { pool, volume } = &typed.one;
            let resized = desk.client.resize_volume(pool, volume, &request).await?;
            let size = bytes(resized.capacity_bytes);
            desk.printer.answer(&resized, |_| format!("Volume {} has {size} now.\n", resized.name));
        }
        Vol::Upload(typed) => upload(desk, typed).await?,
        Vol::Download(typed) => download(desk, typed).await?,
    }
    Ok(Exit::Done)
}

async fn upload(desk: &Desk<'_>, typed: &Transfer) -> Result<(), Failure> {
    let name = typed.file.display();
    let file = File::open(&typed.file).await.with_context(|| format!("cannot open {name}"))?;
    let length = file.metadata().await.with_context(|| format!("cannot look at {name}"))?.len();
    let bar = bar(desk, Some(length));
    let shown = bar.clone();
    let content = ReaderStream::with_capacity(file, TRANSFER_BUFFER_BYTES)
        .inspect_ok(move |piece| shown.inc(piece.len() as u64));
    let uploaded = desk.client.upload_volume(&typed.one.pool, &typed.one.volume, content).await;
    bar.finish_and_clear();
    let volume = uploaded?;
    desk.printer.answer(&volume, |_| format!("Volume {} is made of {name}.\n", volume.name));
    Ok(())
}

async fn download(desk: &Desk<'_>, typed: &Transfer) -> Result<(), Failure> {
    let name = typed.file.display();
    let mut content = desk.client.download_volume(&typed.one.pool, &typed.one.volume).await?;
    let bar = bar(desk, content.left());
    let file = File::create_new(&typed.file).await.with_context(|| format!("cannot make {name}"))?;
    let written = async {
        let mut file = file;
        while let Some(piece) = content.next().await? {
            file.write_all(&piece).await.with_context(|| format!("cannot write {name}"))?;
            bar.inc(piece.len() as u64);
        }
        file.sync_all().await.with_context(|| format!("cannot write {name}"))?;
        Ok::<_, Failure>(())
    };
    let written = written.await;
    bar.finish_and_clear();
    if written.is_err() {
        remove(&typed.file);
    }
    written?;
    let answer = json!({ "file": typed.file, "bytes": bar.position() });
    desk.printer.answer(&answer, |_| format!("Volume {} is in {name}.\n", typed.one.volume));
    Ok(())
}

/// Half an image is none.
fn remove(file: &Path) {
    if let Err(error) = std::fs::remove_file(file) {
        tracing::warn!("half a file was left behind: {error}");
    }
}

/// A bar on a terminal; nothing elsewhere.
fn bar(desk: &Desk<'_>, length: Option<u64>) -> ProgressBar {
    if desk.printer.json() || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = "{wide_bar} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left";
    let style = ProgressStyle::with_template(template).expect("a constant template");
    length.map_or_else(ProgressBar::new_spinner, ProgressBar::new).with_style(style)
}
