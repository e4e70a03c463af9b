//! Devices as typed, in libvirt's XML: what `attach-disk` and `attach-interface` ask for. It checks nothing: the agent
//! does. Main functions: [`disk`], [`interface`].

use std::path::Path;

use crate::args::{AttachDisk, AttachInterface, InterfaceKind};

/// `<disk>`.
pub(crate) fn disk(typed: &AttachDisk, source: &Path) -> String {
    let format = typed.format.as_deref().unwrap_or(match source.extension().and_then(|end| end.to_str()) {
        Some("qcow2") => "qcow2",
        Some(_) | None => "raw",
    });
    let bus = typed.bus.as_deref().or(match typed.target.get(..2) {
        Some("vd") => Some("virtio"),
        Some("sd") => Some("scsi"),
        Some("hd") => Some("ide"),
        Some(_) | None => None,
    });
    let driver = [("name", Some("qemu")), ("type", Some(format)), ("cache", typed.cache.as_deref())];
    let source = source.to_string_lossy();
    let mut inner = vec![
        element("driver", &driver),
        element("source", &[("file", Some(&source))]),
        element("target", &[("dev", Some(&typed.target)), ("bus", bus)]),
    ];
    inner.extend(typed.serial.as_ref().map(|serial| format!("<serial>{}</serial>", escaped(serial))));
    inner.extend(typed.readonly.then(|| "<readonly/>".to_owned()));
    inner.extend(typed.shareable.then(|| "<shareable/>".to_owned()));
    around("<disk type='file' device='disk'>", &inner, "</disk>")
}

/// `<interface>`.
pub(crate) fn interface(typed: &AttachInterface) -> String {
    let kind = match typed.kind {
        InterfaceKind::Bridge => "bridge",
        InterfaceKind::Network => "network",
    };
    let mut inner = Vec::new();
    inner.extend(typed.mac.as_ref().map(|mac| element("mac", &[("address", Some(mac))])));
    inner.push(element("source", &[(kind, Some(&typed.source))]));
    inner.push(element("model", &[("type", Some(&typed.model))]));
    around(&format!("<interface type='{kind}'>"), &inner, "</interface>")
}

fn around(begin: &str, inner: &[String], end: &str) -> String {
    let inner: String = inner.iter().map(|line| format!("  {line}\n")).collect();
    format!("{begin}\n{inner}{end}\n")
}

fn element(name: &str, attributes: &[(&str, Option<&str>)]) -> String {
    let written = |(name, value): &(&str, Option<&str>)| {
        value.map(|value| format!(" {name}='{}'", escaped(value))).unwrap_or_default()
    };
    format!("<{name}{}/>", attributes.iter().map(written).collect::<String>())
}

/// Text as XML has it, between tags and within an attribute (XML 1.0, section 2.4).
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('\'', "&apos;")
}

#[cfg(test)]
mod tests {
    use super::{disk, interface};
    use crate::args::{Args, Command};
    use clap::Parser;
    use insta::assert_snapshot;

    fn xml(typed: &str) -> String {
        match Args::try_parse_from(typed.split_whitespace()).expect("parses").command {
            Command::AttachDisk(typed) => disk(&typed, &typed.source),
            Command::AttachInterface(typed) => interface(&typed),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn disks() {
        assert_snapshot!(xml("ferry attach-disk web1 /srv/a.qcow2 vdb"), @r"
        <disk type='file' device='disk'>
          <driver name='qemu' type='qcow2'/>
          <source file='/srv/a.qcow2'/>
          <target dev='vdb' bus='virtio'/>
        </disk>
        ");
        let all = "ferry attach-disk web1 /srv/a'<&.img x --bus sata --format vmdk --cache none --serial A&B \
                   --readonly --shareable";
        assert_snapshot!(xml(all), @r"
        <disk type='file' device='disk'>
          <driver name='qemu' type='vmdk' cache='none'/>
          <source file='/srv/a&apos;&lt;&amp;.img'/>
          <target dev='x' bus='sata'/>
          <serial>A&amp;B</serial>
          <readonly/>
          <shareable/>
        </disk>
        ");
    }

    #[test]
    fn interfaces() {
        assert_snapshot!(xml("ferry attach-interface web1 bridge br0"), @r"
        <interface type='bridge'>
          <source bridge='br0'/>
          <model type='virtio'/>
        </interface>
        ");
        let all = "ferry attach-interface web1 network default --model e1000e --mac 52:54:00:00:00:07";
        assert_snapshot!(xml(all), @r"
        <interface type='network'>
          <mac address='52:54:00:00:00:07'/>
          <source network='default'/>
          <model type='e1000e'/>
        </interface>
        ");
    }
}
