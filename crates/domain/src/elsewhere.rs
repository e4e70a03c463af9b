//! A definition as it is on a host that calls some things otherwise: [`Definition::mapped`]. It never touches a byte that
//! names none of them, and looks at no file. Main type: [`Elsewhere`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::definition::{Definition, set_nvram};
use crate::disk::{Disk, DiskSource, source_attribute};
use crate::edit::Editor;
use crate::interface::InterfaceSource;
use crate::problem::DefinitionError;
use crate::reader::{Node, Reader};

/// What of a definition is called otherwise on another host. What is not named stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elsewhere {
    /// Files and devices by their paths: disks and media, the images below them as far as they are written, the firmware's
    /// variables. What lies below `/dev` is a device there, what lies anywhere else a file; `/dev/shm` holds files.
    pub files: BTreeMap<PathBuf, PathBuf>,
    /// Bridges and networks by their names.
    pub bridges: BTreeMap<String, String>,
    /// Disks, by the guest's names, that stand on nothing there: what is written below them goes.
    pub flattened: BTreeSet<String>,
}

impl Definition {
    /// The definition as it is on a host that calls these things otherwise.
    ///
    /// # Errors
    ///
    /// A path is not absolute or not UTF-8, a name is none that a bridge or a network can have, or two disks have one
    /// file then.
    pub fn mapped(&self, elsewhere: &Elsewhere) -> Result<Definition, DefinitionError> {
        self.edited(|reader, editor, reading| {
            let domain = &reading.domain;
            for (disk, node) in domain.disks.iter().zip(&reading.nodes.disks) {
                elsewhere.move_disk(reader, editor, disk, *node);
            }
            let nvram = domain.os.firmware.nvram.as_ref().and_then(|nvram| nvram.path.as_ref());
            if let Some(path) = nvram.and_then(|path| elsewhere.files.get(path)) {
                set_nvram(reader, editor, reading, path);
            }
            for (interface, node) in domain.interfaces.iter().zip(&reading.nodes.interfaces) {
                let (attribute, name) = match &interface.source {
                    InterfaceSource::Bridge(name) => ("bridge", name),
                    InterfaceSource::Network(name) => ("network", name),
                    InterfaceSource::User { .. } => continue,
                };
                let source = reader.child(*node, "source");
                if let (Some(source), Some(name)) = (source, elsewhere.bridges.get(name)) {
                    editor.set_attribute(source, attribute, name);
                }
            }
        })
    }
}

impl Elsewhere {
    fn move_disk<'a>(&self, reader: &mut Reader<'a>, editor: &mut Editor<'a>, disk: &Disk, node: Node<'a>) {
        if let Some(path) = disk.source.as_ref().and_then(DiskSource::path) {
            self.move_image(reader, editor, node, path);
        }
        let lower = reader.child(node, "backingStore");
        if let (true, Some(lower)) = (self.flattened.contains(&disk.target), lower) {
            editor.remove(lower);
            return;
        }
        let (mut above, mut paths) = (node, disk.backing.iter());
        while let Some(lower) = reader.child(above, "backingStore") {
            // An empty one ends the chain.
            let Some(path) = reader.child(lower, "source").and_then(|_| paths.next()) else { return };
            self.move_image(reader, editor, lower, path);
            above = lower;
        }
    }

    /// Another path in the `<source>` of an element that says by its `type` what that is.
    fn move_image<'a>(
        &self,
        reader: &mut Reader<'a>,
        editor: &mut Editor<'a>,
        element: Node<'a>,
        path: &Path,
    ) {
        let kind = element.attribute("type").unwrap_or("file");
        let (Some(to), Some(attribute)) = (self.files.get(path), source_attribute(kind)) else { return };
        let Some(source) = reader.child(element, "source") else { return };
        let Some(to) = to.to_str() else {
            reader.refuse(source, "the path is not UTF-8", "rename the file");
            return;
        };
        let there = if is_device(to) { "block" } else { "file" };
        match source_attribute(there) {
            Some(other) if other != attribute => {
                editor.set_attribute(element, "type", there);
                editor.remove_attribute(source, attribute);
                editor.set_attribute(source, other, to);
            }
            Some(_) | None => editor.set_attribute(source, attribute, to),
        }
    }
}

/// Whether a path on a host that cannot be asked here is a device's: what lies below `/dev` is one, except in `/dev/shm`.
#[must_use]
pub fn is_device(path: &str) -> bool {
    path.starts_with("/dev/") && !path.starts_with("/dev/shm/")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFINITION: &str = "<domain type='qemu'>
  <name>web1</name>
  <memory>1048576</memory>
  <os>
    <type machine='pc-q35-10.0'>hvm</type>
    <loader type='pflash' readonly='yes'>/usr/share/OVMF/OVMF_CODE.fd</loader>
    <nvram>/srv/web1_VARS.fd</nvram>
  </os>
  <devices>
    <!-- /srv/web1.qcow2 -->
    <disk type=\"file\" device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file=\"/srv/web1.qcow2\" index='1'/>
      <backingStore type='file'>
        <format type='qcow2'/>
        <source file='/srv/middle.qcow2'/>
        <backingStore type='file'>
          <format type='raw'/>
          <source file='/gold/base.img'/>
          <backingStore/>
        </backingStore>
      </backingStore>
      <target dev='vda' bus='virtio'/>
    </disk>
    <disk type='block' device='disk'>
      <source dev='/dev/vg/data'/>
      <target dev='vdb' bus='virtio'/>
    </disk>
    <interface type='bridge'>
      <source bridge='br0'/>
    </interface>
    <interface type='network'>
      <source network='default' bridge='virbr0'/>
    </interface>
  </devices>
</domain>";

    fn elsewhere(files: &[(&str, &str)], bridges: &[(&str, &str)], flattened: &[&str]) -> Elsewhere {
        Elsewhere {
            files: files.iter().map(|(from, to)| (PathBuf::from(from), PathBuf::from(to))).collect(),
            bridges: bridges.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect(),
            flattened: flattened.iter().map(|disk| (*disk).to_owned()).collect(),
        }
    }

    /// Each line that another one came in the place of, and what came.
    #[track_caller]
    fn check(elsewhere: &Elsewhere, changed: &[(&str, &str)]) {
        let mut expect = DEFINITION.to_owned();
        for (from, to) in changed {
            assert_eq!(expect.matches(from).count(), 1, "{from}");
            expect = expect.replace(from, to);
        }
        let before = Definition::parse(DEFINITION).expect("a definition");
        assert_eq!(before.mapped(elsewhere).expect("it can be mapped").xml(), expect);
    }

    #[test]
    fn what_is_not_named_stays() {
        check(&Elsewhere::default(), &[]);
        check(&elsewhere(&[("/srv/web2.qcow2", "/new/a")], &[("br1", "br2")], &["vdc"]), &[]);
    }

    #[test]
    fn files_are_moved_wherever_they_are_named() {
        let files = [
            ("/srv/web1.qcow2", "/new/a&b.qcow2"),
            ("/gold/base.img", "/new/base.img"),
            ("/srv/web1_VARS.fd", "/new/web1_VARS.fd"),
        ];
        check(
            &elsewhere(&files, &[], &[]),
            &[
                (
                    "<source file=\"/srv/web1.qcow2\" index='1'/>",
                    "<source file=\"/new/a&amp;b.qcow2\" index='1'/>",
                ),
                ("'/gold/base.img'", "'/new/base.img'"),
                (">/srv/web1_VARS.fd<", ">/new/web1_VARS.fd<"),
            ],
        );
    }

    #[test]
    fn a_file_can_become_a_device_and_a_device_a_file() {
        check(
            &elsewhere(&[("/srv/web1.qcow2", "/dev/vg/web1"), ("/dev/vg/data", "/srv/data.img")], &[], &[]),
            &[
                ("<disk type=\"file\" device='disk'>", "<disk type=\"block\" device='disk'>"),
                ("<source file=\"/srv/web1.qcow2\" index='1'/>", "<source index='1' dev='/dev/vg/web1'/>"),
                ("<disk type='block' device='disk'>", "<disk type='file' device='disk'>"),
                ("<source dev='/dev/vg/data'/>", "<source file='/srv/data.img'/>"),
            ],
        );
        check(
            &elsewhere(&[("/dev/vg/data", "/dev/shm/data.img")], &[], &[]),
            &[
                ("<disk type='block' device='disk'>", "<disk type='file' device='disk'>"),
                ("<source dev='/dev/vg/data'/>", "<source file='/dev/shm/data.img'/>"),
            ],
        );
    }

    #[test]
    fn bridges_and_networks_have_other_names() {
        check(
            &elsewhere(&[], &[("br0", "br7"), ("default", "lan"), ("virbr0", "never")], &[]),
            &[("<source bridge='br0'/>", "<source bridge='br7'/>"), ("network='default'", "network='lan'")],
        );
    }

    #[test]
    fn a_flattened_disk_stands_on_nothing() {
        let start = DEFINITION.find("\n      <backingStore type='file'>").expect("a chain");
        let end = DEFINITION.find("\n      <target dev='vda'").expect("after it");
        check(&elsewhere(&[], &[], &["vda"]), &[(&DEFINITION[start..end], "")]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let before = Definition::parse(DEFINITION).expect("a definition");
        let refused = |files: &[(&str, &str)], bridges: &[(&str, &str)]| {
            before.mapped(&elsewhere(files, bridges, &[])).expect_err("it is refused").to_string()
        };
        insta::assert_snapshot!(refused(&[("/srv/web1.qcow2", "web1.qcow2")], &[]), @"the definition cannot be used: line 13, column 15, /domain/devices/disk[1]/source/@file: `web1.qcow2` is not an absolute path; write the whole path, beginning with /");
        insta::assert_snapshot!(refused(&[], &[("br0", "a bridge")]), @"the definition cannot be used: line 30, column 15, /domain/devices/interface[1]/source/@bridge: `a bridge` is not a name that a network device can have; write at most 15 letters, digits, `-`, `_` or `.`");
    }
}
