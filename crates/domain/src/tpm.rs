//! `<tpm>`: a trusted platform module, emulated by swtpm. It never touches the module's state.

use crate::edit::Editor;
use crate::reader::{self, Node, Reader, is};
use crate::word::words;

/// `<tpm>` with `<backend type='emulator'>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tpm {
    /// `model`: QEMU's device; `tpm-tis` where not written, as in libvirt.
    pub model: TpmModel,
    /// `<backend version=…>`; where not written, 1.2 for `tpm-tis` and 2.0 for `tpm-crb`, as in libvirt.
    pub version: TpmVersion,
    /// `<backend persistent_state='yes'>`: the module's state outlives the definition.
    pub persistent_state: bool,
}

words! {
    /// How the guest talks to its TPM.
    pub enum TpmModel {
        /// The older interface.
        Tis = "tpm-tis",
        /// Command response buffer, version 2.0 only.
        Crb = "tpm-crb",
    }
}

words! {
    /// What a TPM speaks.
    pub enum TpmVersion {
        /// 1.2.
        V1 = "1.2",
        /// 2.0.
        V2 = "2.0",
    }
}

impl Tpm {
    /// Reads `<tpm>`.
    pub(crate) fn read<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<Tpm> {
        reader.vocabulary(node, &["model"], &["backend", "alias"]);
        let model = if node.has_attribute("model") { reader.word(node, "model")? } else { TpmModel::Tis };
        let backend =
            reader.required_child(node, "backend", "add <backend type='emulator' version='2.0'/>")?;
        if backend.attribute("type") != Some("emulator") {
            let message = "only an emulated TPM can follow its guest";
            reader.refuse_attribute(
                backend,
                "type",
                message,
                "write <backend type='emulator' version='2.0'/>",
            );
            return None;
        }
        reader.attributes(backend, &["type", "version", "persistent_state", "debug"]);
        if backend.has_attribute("debug") {
            reader.note(
                backend,
                "`debug` is kept in the definition and not applied",
                "nothing is to be done",
            );
        }
        for child in backend.children().filter(Node::is_element) {
            let mend = match reader::qname(child) {
                "encryption" => "remove it: keep the hosts' own disks encrypted instead",
                "active_pcr_banks" => "remove it: the guest's firmware sets the banks",
                "source" => "remove it: each host keeps the state below its own state directory",
                _ => "remove it if the guest can do without it",
            };
            reader.refuse(child, format!("<{}> in <backend> is not supported", reader::qname(child)), mend);
        }
        let version = match (backend.has_attribute("version"), model) {
            (true, _) => reader.word(backend, "version")?,
            (false, TpmModel::Tis) => TpmVersion::V1,
            (false, TpmModel::Crb) => TpmVersion::V2,
        };
        if (model, version) == (TpmModel::Crb, TpmVersion::V1) {
            let message = "tpm-crb speaks version 2.0 only";
            reader.refuse_attribute(backend, "version", message, "write version='2.0'");
        }
        let persistent_state = reader.flag(backend, "persistent_state", "yes", "no").unwrap_or(false);
        Some(Tpm { model, version, persistent_state })
    }

    /// Writes what libvirt would have taken for granted.
    pub(crate) fn freeze<'a>(self, editor: &mut Editor<'a>, node: Node<'a>) {
        if !node.has_attribute("model") {
            editor.set_attribute(node, "model", self.model.as_str());
        }
        if let Some(backend) = node.children().find(|child| is(*child, "backend"))
            && !backend.has_attribute("version")
        {
            editor.set_attribute(backend, "version", self.version.as_str());
        }
    }
}
