//! What is typed after `create`: a file, or a new domain in a few words.

use std::path::PathBuf;

use clap::{Args as Arguments, ValueEnum};

use crate::measure;

#[derive(Debug, Arguments)]
pub(crate) struct Create {
    /// File with the XML of a domain that is not kept, or - for standard input
    #[arg(required_unless_present = "name")]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) new: NewDomain,
}

#[derive(Debug, Arguments)]
#[command(next_help_heading = "A new domain, which is kept")]
pub(crate) struct NewDomain {
    /// Its name
    #[arg(long, value_name = "NAME", conflicts_with = "file", requires = "memory")]
    pub(crate) name: Option<String>,
    /// Its memory, as in 4G
    #[arg(long, value_name = "SIZE", requires = "name", value_parser = measure::size)]
    pub(crate) memory: Option<u64>,
    /// Its vCPUs
    #[arg(long, value_name = "N", requires = "name", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) vcpus: u32,
    /// What is going to run in it, as in debian13, win11, linux; a wrong name is answered with all of them
    #[arg(long, value_name = "SYSTEM", requires = "name", default_value = "generic")]
    pub(crate) os: String,
    /// A disk: size=20G makes an image, PATH takes one that is there; may be given more than once
    ///
    /// More words follow after commas: size=, format=qcow2 or raw, bus=virtio, sata, scsi, ide or usb. PATH with size= makes
    /// an image there. Nothing is ever written over a file that exists.
    #[arg(long, value_name = "size=SIZE|PATH", requires = "name", value_parser = disk)]
    pub(crate) disk: Vec<Disk>,
    /// The installer's image, which is booted while nothing is on the first disk
    #[arg(long, value_name = "ISO", requires = "name")]
    pub(crate) cdrom: Option<PathBuf>,
    /// A network card: bridge=br0, network=default or none; may be given more than once [default: network=default]
    ///
    /// After a comma, model=virtio or e1000e or another.
    #[arg(long, value_name = "WHERE", requires = "name", value_parser = network)]
    pub(crate) network: Vec<Card>,
    /// Its screen, on a VNC server that this host alone reaches; none leaves it its serial console
    #[arg(long, value_enum, requires = "name", default_value_t = Graphics::Vnc)]
    pub(crate) graphics: Graphics,
    /// Its chipset
    #[arg(long, value_enum, requires = "name", default_value_t = Machine::Q35)]
    pub(crate) machine: Machine,
    /// UEFI in the place of a BIOS; a system that wants it gets it anyway
    #[arg(long, requires = "name")]
    pub(crate) uefi: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) path: Option<PathBuf>,
    pub(crate) size_bytes: Option<u64>,
    pub(crate) format: Option<String>,
    pub(crate) bus: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Card {
    Bridge { name: String, model: Option<String> },
    Network { name: String, model: Option<String> },
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Graphics {
    Vnc,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Machine {
    Q35,
    Pc,
}

fn disk(text: &str) -> Result<Disk, String> {
    let mut disk = Disk::default();
    for (place, word) in text.split(',').enumerate() {
        match word.split_once('=') {
            Some(("size", size)) => {
                disk.size_bytes = Some(measure::size(size).map_err(|error| error.to_string())?);
            }
            Some(("format", format)) => disk.format = Some(format.to_owned()),
            Some(("bus", bus)) => disk.bus = Some(bus.to_owned()),
            Some(("path", path)) => disk.path = Some(path.into()),
            Some(_) | None if place == 0 && !word.is_empty() => disk.path = Some(word.into()),
            Some(_) | None => return Err(format!("{word:?} is none of size=, format=, bus=")),
        }
    }
    if disk.path.is_none() && disk.size_bytes.is_none() {
        return Err("write size=20G, or the path of an image".to_owned());
    }
    Ok(disk)
}

fn network(text: &str) -> Result<Card, &'static str> {
    const WANTED: &str = "write bridge=NAME, network=NAME or none, and model=MODEL after a comma";
    let (place, model) = match text.split_once(',') {
        Some((place, more)) => (place, Some(more.strip_prefix("model=").ok_or(WANTED)?.to_owned())),
        None => (text, None),
    };
    match place.split_once('=') {
        Some(("bridge", name)) if !name.is_empty() => Ok(Card::Bridge { name: name.to_owned(), model }),
        Some(("network", name)) if !name.is_empty() => Ok(Card::Network { name: name.to_owned(), model }),
        None if place == "none" && model.is_none() => Ok(Card::None),
        Some(_) | None => Err(WANTED),
    }
}
