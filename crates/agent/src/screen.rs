//! What a guest's screen shows. Main function: [`picture`].

use qemu::command::{ImageFormat, Screendump};

use crate::failure::{Failure, ScreenFailure};
use crate::keeper::Looked;
use crate::node::Node;

/// A picture of the guest's first screen, and its media type: PNG where this QEMU can, else a portable pixmap.
pub(crate) async fn picture(node: &Node, guest: &Looked) -> Result<(&'static str, Vec<u8>), Failure> {
    let schema = &node.capabilities(&guest.emulator).await?.schema;
    let formats = schema.enum_values("screendump", false, &["format"]);
    let png = formats.is_some_and(|formats| formats.contains("png"));
    // QEMU replaces what is there, so each picture has a file of its own.
    let unread = |source| Failure::Screen(ScreenFailure::Picture { domain: guest.name.clone(), source });
    let file = tempfile::Builder::new()
        .prefix("screen-")
        .tempfile_in(node.store.run_directory(guest.uuid))
        .map_err(unread)?;
    let format = png.then_some(ImageFormat::Png);
    guest.process.qmp.execute(Screendump { filename: file.path().to_owned(), format }).await?;
    let picture = tokio::fs::read(file.path()).await.map_err(unread)?;
    Ok((if png { "image/png" } else { "image/x-portable-pixmap" }, picture))
}
