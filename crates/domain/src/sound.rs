//! `<sound>` and `<audio>`: what the guest plays. A server plays it to nobody, or to whoever looks at the screen. It
//! never opens a sound device.

use crate::address::{PciAddress, UsbAddress};
use crate::reader::{Node, Reader, is};
use crate::usb::usb_address;
use crate::word::words;

/// `<sound>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sound {
    /// What the guest sees.
    pub model: SoundModel,
    /// `<codec>` elements, for [`SoundModel::Ich6`] and [`SoundModel::Ich9`]; without any it is one that plays and
    /// records.
    pub codecs: Vec<SoundCodec>,
    /// `<address type='pci'>`.
    pub address: Option<PciAddress>,
    /// `<address type='usb'>`, only for [`SoundModel::Usb`].
    pub usb_address: Option<UsbAddress>,
}

words! {
    /// What the guest sees as its sound card.
    pub enum SoundModel {
        /// Intel HD Audio (QEMU's `intel-hda`).
        Ich6 = "ich6",
        /// Intel HD Audio of ICH9 (QEMU's `ich9-intel-hda`).
        Ich9 = "ich9",
        /// Intel AC97 (QEMU's `AC97`).
        Ac97 = "ac97",
        /// Ensoniq AudioPCI (QEMU's `ES1370`).
        Es1370 = "es1370",
        /// Sound Blaster 16 on ISA (QEMU's `sb16`).
        Sb16 = "sb16",
        /// A USB device (QEMU's `usb-audio`).
        Usb = "usb",
    }
}

words! {
    /// What an HD Audio codec does.
    pub enum SoundCodec {
        /// It plays and records, as line-out and line-in (QEMU's `hda-duplex`).
        Duplex = "duplex",
        /// It plays and records, as speaker and microphone (QEMU's `hda-micro`).
        Micro = "micro",
        /// It plays (QEMU's `hda-output`).
        Output = "output",
    }
}

words! {
    /// Where the sound goes.
    pub enum Audio {
        /// Nowhere (QEMU's `none`).
        None = "none",
        /// To whoever looks at the screen through SPICE.
        Spice = "spice",
    }
}

impl Sound {
    /// Reads `<sound>`.
    pub(crate) fn read<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<Sound> {
        reader.vocabulary(node, &["model", "multichannel"], &["codec", "audio", "alias", "address"]);
        reader.only(node, "multichannel", &["no"], "remove `multichannel`");
        reader.required(node, "model", "write model='ich9'")?;
        if node.attribute("model") == Some("pcspk") {
            let mend = "remove the <sound>: the speaker of the PC is there in any case";
            reader.refuse_attribute(node, "model", "`pcspk` makes no device of its own", mend);
            return None;
        }
        let model: SoundModel = reader.word(node, "model")?;
        if let Some(audio) = reader.child(node, "audio") {
            reader.vocabulary(audio, &["id"], &[]);
            reader.number(audio, "id", 1..=1);
        }
        let mut codecs = Vec::new();
        for codec in node.children().filter(|child| is(*child, "codec")) {
            reader.vocabulary(codec, &["type"], &[]);
            reader.required(codec, "type", "write type='duplex'");
            codecs.extend(reader.word::<SoundCodec>(codec, "type"));
            if !matches!(model, SoundModel::Ich6 | SoundModel::Ich9) {
                let message = format!("a sound card of model `{model}` has no codecs");
                reader.refuse(codec, message, "remove the <codec>");
            }
        }
        let mut sound = Sound { model, codecs, address: None, usb_address: None };
        match model {
            SoundModel::Usb => sound.usb_address = usb_address(reader, node),
            SoundModel::Sb16 => {
                if let Some(address) = reader.child(node, "address") {
                    reader.refuse(address, "an ISA card has no address", "remove the <address>");
                }
            }
            SoundModel::Ich6 | SoundModel::Ich9 | SoundModel::Ac97 | SoundModel::Es1370 => {
                sound.address = reader.pci_address(node);
            }
        }
        Some(sound)
    }

    /// Whether it sits on a PCI bus.
    pub(crate) fn is_pci(&self) -> bool {
        match self.model {
            SoundModel::Ich6 | SoundModel::Ich9 | SoundModel::Ac97 | SoundModel::Es1370 => true,
            SoundModel::Sb16 | SoundModel::Usb => false,
        }
    }
}

impl Audio {
    /// Reads `<audio>`.
    pub(crate) fn read<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<Audio> {
        reader.vocabulary(node, &["id", "type"], &[]);
        reader.number(node, "id", 1..=1);
        if let Some(kind) = node.attribute("type").filter(|kind| !["none", "spice"].contains(kind)) {
            let message = format!("sound through `{kind}` of this host would end when the guest moves");
            reader.refuse_attribute(node, "type", message, "write type='none', or remove the <audio>");
            return None;
        }
        reader.required(node, "type", "write type='none', or remove the <audio>")?;
        reader.word(node, "type")
    }
}
