//! Commands that look at what a guest shows.

use std::path::PathBuf;

use serde::Serialize;

use super::{Done, command};

/// QAPI `screendump`: writes what the guest's first screen shows into a file.
#[derive(Clone, Debug, Serialize)]
pub struct Screendump {
    /// An absolute path; the file is replaced.
    pub filename: PathBuf,
    /// The picture's format; without one it is [`ImageFormat::Ppm`]. Only where the schema has the argument.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<ImageFormat>,
}
command!(Screendump, "screendump", Done);

/// QAPI `ImageFormat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageFormat {
    /// Portable pixmap.
    Ppm,
    /// PNG, where QEMU was built with libpng.
    Png,
}
