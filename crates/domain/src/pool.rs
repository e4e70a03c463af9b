//! libvirt's storage pool XML: a directory, or an export of an NFS server that is mounted. It never looks at a path. The
//! main type is [`Pool`].

use std::path::PathBuf;

use uuid::Uuid;

use crate::definition::tree;
use crate::edit::Element;
use crate::limits::MOUNT_OPTIONS_MAX;
use crate::problem::DefinitionError;
use crate::read;
use crate::reader::{Node, Reader, is, qname, text};

/// Of `<fs:mount_opts>`, as in libvirt's storagepoolfs.rng.
const MOUNT_OPTIONS_NAMESPACE: &str = "http://libvirt.org/schemas/storagepool/fs/1.0";

/// The versions that mount.nfs knows (nfs(5), `nfsvers`).
const NFS_VERSIONS: [&str; 5] = ["3", "4", "4.0", "4.1", "4.2"];

/// Options of mount(8) and nfs(5) that make something else of a mount, or make it later.
const NO_MOUNT_OF_AN_EXPORT: [&str; 8] =
    ["bg", "bind", "helper", "loop", "move", "rbind", "remount", "uhelper"];

/// A pool as it is defined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// `<name>`: can be a file's name.
    pub name: String,
    /// `<uuid>`; none where it is not written yet.
    pub uuid: Option<Uuid>,
    /// `<target><path>`: where its volumes lie on every host; absolute.
    pub path: PathBuf,
    /// `type`.
    pub kind: PoolKind,
}

/// What a pool's directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolKind {
    /// `type='dir'`: a directory that is there, whatever filesystem it lies on.
    Dir,
    /// `type='netfs'`: where an NFS export is mounted.
    Netfs(Netfs),
}

impl PoolKind {
    /// The word that libvirt uses.
    pub fn as_str(&self) -> &'static str {
        match self {
            PoolKind::Dir => "dir",
            PoolKind::Netfs(_) => "netfs",
        }
    }
}

/// An export of an NFS server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Netfs {
    /// `<source><host name=…>`: name or address, an IPv6 address without brackets.
    pub host: String,
    /// `<source><dir path=…>`: absolute.
    pub export: PathBuf,
    /// `<source><protocol ver=…>`: as in `4.1`; none leaves it to client and server.
    pub version: Option<String>,
    /// `<fs:mount_opts>`: options of mount(8), each as in `rsize=65536`.
    pub options: Vec<String>,
}

impl Netfs {
    /// What is mounted, as mount(8) takes it: `HOST:EXPORT`, an IPv6 address in brackets.
    pub fn device(&self) -> String {
        let export = self.export.display();
        if self.host.contains(':') {
            format!("[{}]:{export}", self.host)
        } else {
            format!("{}:{export}", self.host)
        }
    }

    /// Server and export of a `HOST:EXPORT`; none where it is none. What they hold is checked when the pool is read.
    pub fn split_device(device: &str) -> Option<(&str, &str)> {
        let (host, export) = match device.strip_prefix('[') {
            Some(rest) => rest.split_once("]:")?,
            None => device.split_once(":/").map(|(host, _)| (host, &device[host.len() + 1..]))?,
        };
        (!host.is_empty() && export.starts_with('/')).then_some((host, export))
    }
}

impl Pool {
    /// Reads a pool's definition. What libvirt writes into it about the state of a pool (`<capacity>`, `<permissions>`) is
    /// passed over.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it at once, with place and mend.
    pub fn parse(xml: &str) -> Result<Pool, DefinitionError> {
        let document = tree(xml)?;
        let mut reader = Reader::new(&document);
        let pool = pool(&mut reader, document.root_element());
        let (problems, _) = reader.finish();
        match pool {
            Some(pool) if problems.is_empty() => Ok(pool),
            Some(_) | None => Err(DefinitionError { problems }),
        }
    }

    /// What is mounted, where something is.
    pub fn netfs(&self) -> Option<&Netfs> {
        match &self.kind {
            PoolKind::Dir => None,
            PoolKind::Netfs(netfs) => Some(netfs),
        }
    }

    /// The definition as libvirt writes it. It need not be one that can be read: parsing checks what it holds.
    pub fn xml(&self) -> String {
        let mut root = Element::new("pool").attribute("type", self.kind.as_str());
        let netfs = self.netfs();
        let options = netfs.map_or(&[][..], |netfs| &netfs.options);
        if !options.is_empty() {
            root = root.attribute("xmlns:fs", MOUNT_OPTIONS_NAMESPACE);
        }
        root = root.child(Element::new("name").text(&self.name));
        if let Some(uuid) = self.uuid {
            root = root.child(Element::new("uuid").text(uuid.to_string()));
        }
        if let Some(netfs) = netfs {
            let export = netfs.export.to_string_lossy();
            let source = Element::new("source")
                .child(Element::new("host").attribute("name", &netfs.host))
                .child(Element::new("dir").attribute("path", export))
                .child(Element::new("format").attribute("type", "nfs"));
            let version = netfs.version.iter().map(|it| Element::new("protocol").attribute("ver", it));
            root = root.child(version.fold(source, Element::child));
        }
        let path = Element::new("path").text(self.path.to_string_lossy());
        root = root.child(Element::new("target").child(path));
        if !options.is_empty() {
            let options = options.iter().map(|option| Element::new("fs:option").attribute("name", option));
            root = root.child(options.fold(Element::new("fs:mount_opts"), Element::child));
        }
        root.document()
    }
}

fn pool<'a>(reader: &mut Reader<'a>, root: Node<'a>) -> Option<Pool> {
    if !is(root, "pool") {
        let message = format!("the outermost element is <{}>", qname(root));
        reader.refuse(root, message, "give a libvirt <pool>, which has no namespace");
        return None;
    }
    reader.attributes(root, &["type"]);
    let known = ["name", "uuid", "capacity", "allocation", "available", "source", "target"];
    let mut mount_options = None;
    for child in root.children().filter(Node::is_element) {
        if child.tag_name().namespace() == Some(MOUNT_OPTIONS_NAMESPACE)
            && child.tag_name().name() == "mount_opts"
        {
            mount_options = Some(child);
        } else if child.tag_name().namespace().is_some() || !known.contains(&child.tag_name().name()) {
            reader.unsupported(child);
        }
    }
    let name = read::name(reader, root);
    let uuid = read::uuid(reader, root);
    let path = path(reader, root);
    let kind = kind(reader, root, mount_options);
    Some(Pool { name: name?, uuid, path: path?, kind: kind? })
}

fn path<'a>(reader: &mut Reader<'a>, root: Node<'a>) -> Option<PathBuf> {
    let mend = "add <target><path>/srv/guests</path></target>";
    let target = reader.required_child(root, "target", mend)?;
    reader.vocabulary(target, &[], &["path", "permissions"]);
    let node = reader.required_child(target, "path", mend)?;
    reader.vocabulary(node, &[], &[]);
    // Not trimmed: a path may end with a space, and one with a line break is refused.
    let path = reader.path(node, None, &text(node))?;
    if path.components().any(|part| part == std::path::Component::ParentDir) {
        reader.refuse(node, format!("`{}` goes through `..`", path.display()), "write the path without it");
        return None;
    }
    Some(path)
}

fn kind<'a>(reader: &mut Reader<'a>, root: Node<'a>, mount_options: Option<Node<'a>>) -> Option<PoolKind> {
    let kind = reader.required(root, "type", "write type='dir' or type='netfs'")?;
    match kind {
        "dir" => {
            if let Some(source) = reader.child(root, "source") {
                // libvirt writes an empty one.
                reader.vocabulary(source, &[], &[]);
            }
            if let Some(node) = mount_options {
                reader.refuse(node, "nothing is mounted for a directory", "remove it, or write type='netfs'");
            }
            Some(PoolKind::Dir)
        }
        "netfs" => netfs(reader, root, mount_options).map(PoolKind::Netfs),
        _ => {
            let mend = match kind {
                "fs" => "mount the filesystem on every host yourself, and write type='dir'",
                "gluster" | "rbd" | "vstorage" => {
                    "mount the storage on every host yourself, and write type='dir'"
                }
                "logical" | "disk" | "iscsi" | "iscsi-direct" | "scsi" | "mpath" | "zfs" => {
                    "name its block devices in the domains themselves: <disk type='block'>"
                }
                _ => "write type='dir' or type='netfs'",
            };
            let message = format!("`{kind}` is not supported as `type` of <pool>");
            reader.refuse_attribute(root, "type", message, mend);
            None
        }
    }
}

fn netfs<'a>(reader: &mut Reader<'a>, root: Node<'a>, mount_options: Option<Node<'a>>) -> Option<Netfs> {
    let mend = "add <source><host name='nfs'/><dir path='/export'/></source>";
    let source = reader.required_child(root, "source", mend)?;
    reader.vocabulary(source, &[], &["host", "dir", "format", "protocol"]);
    let host = server(reader, source);
    let export = match reader.required_child(source, "dir", "add <dir path='…'/>, what the server exports")
    {
        Some(node) => {
            reader.vocabulary(node, &["path"], &[]);
            let path = reader.required(node, "path", "write what the server exports as `path`");
            path.and_then(|path| reader.path(node, Some("path"), path))
        }
        None => None,
    };
    if let Some(node) = reader.child(source, "format") {
        reader.vocabulary(node, &["type"], &[]);
        reader.only(
            node,
            "type",
            &["nfs", "auto"],
            "write type='nfs', or mount the storage yourself for a `dir` pool",
        );
    }
    let version = reader.child(source, "protocol").and_then(|node| {
        reader.vocabulary(node, &["ver"], &[]);
        let mend = format!("write one of {}", NFS_VERSIONS.join(", "));
        reader.only(node, "ver", &NFS_VERSIONS, &mend);
        reader.required(node, "ver", &mend).map(str::to_owned)
    });
    let options = mount_options.map(|node| options(reader, node, version.is_some())).unwrap_or_default();
    Some(Netfs { host: host?, export: export?, version, options })
}

fn server<'a>(reader: &mut Reader<'a>, source: Node<'a>) -> Option<String> {
    let node = reader.required_child(source, "host", "add <host name='…'/>, the NFS server")?;
    reader.attributes(node, &["name", "port"]);
    reader.children(node, &[]);
    let host = reader.required(node, "name", "write the server's name or address")?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.starts_with('-')
        || host.contains(|c: char| c.is_whitespace() || c.is_control() || "/[]".contains(c))
    {
        let message = format!("{host:?} is not a server's name or address");
        reader.refuse_attribute(node, "name", message, "write one, like nfs.example or 192.0.2.7");
    }
    if node.has_attribute("port") {
        let mend = "remove it, and give a mount option: <fs:option name='port=…'/>";
        reader.refuse_attribute(node, "port", "`port` means nothing for an NFS server", mend);
    }
    Some(host.to_owned())
}

fn options<'a>(reader: &mut Reader<'a>, mount_options: Node<'a>, has_version: bool) -> Vec<String> {
    let mut options = Vec::new();
    reader.attributes(mount_options, &[]);
    for node in mount_options.children().filter(Node::is_element) {
        if node.tag_name().namespace() != Some(MOUNT_OPTIONS_NAMESPACE) || node.tag_name().name() != "option"
        {
            reader.unsupported(node);
            continue;
        }
        reader.vocabulary(node, &["name"], &[]);
        let Some(option) = reader.required(node, "name", "write an option of mount(8), like `ro`") else {
            continue;
        };
        let key = option.split('=').next().unwrap_or(option);
        if option.contains(|c: char| c == ',' || c.is_whitespace() || c.is_control()) {
            let message = format!("{option:?} is not one mount option");
            reader.refuse_attribute(node, "name", message, "write one <fs:option> for each");
        } else if ["dev", "suid", "exec"].contains(&key) {
            let mend = "remove it: a pool is mounted with nodev, nosuid and noexec";
            reader.refuse_attribute(node, "name", format!("`{key}` is not for a pool of images"), mend);
        } else if NO_MOUNT_OF_AN_EXPORT.contains(&key) || key.starts_with("X-mount.") {
            let mend = "remove it: a pool is one export, mounted when the pool is started";
            reader.refuse_attribute(node, "name", format!("`{key}` is not for a pool"), mend);
        } else if has_version && ["vers", "nfsvers", "minorversion"].contains(&key) {
            let mend = "keep either the option or <protocol ver='…'/>";
            reader.refuse_attribute(node, "name", "the version is written twice", mend);
        } else if options.len() == MOUNT_OPTIONS_MAX {
            reader.refuse(
                node,
                "there are too many mount options",
                format!("keep {MOUNT_OPTIONS_MAX} of them"),
            );
            break;
        } else {
            options.push(option.to_owned());
        }
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETFS: &str = "<pool type='netfs' xmlns:fs='http://libvirt.org/schemas/storagepool/fs/1.0'>
  <name>shared</name>
  <uuid>3e3fce45-4f53-4fa7-bb32-11f34168b82b</uuid>
  <source>
    <host name='nfs'/>
    <dir path='/nfs-share'/>
    <format type='nfs'/>
    <protocol ver='4.1'/>
  </source>
  <target>
    <path>/srv/shared</path>
  </target>
  <fs:mount_opts>
    <fs:option name='rsize=65536'/>
    <fs:option name='hard'/>
  </fs:mount_opts>
</pool>
";

    #[test]
    fn a_pool_is_read_and_written_as_libvirt_writes_it() {
        let pool = Pool::parse(NETFS).unwrap();
        let netfs = Netfs {
            host: "nfs".into(),
            export: "/nfs-share".into(),
            version: Some("4.1".into()),
            options: vec!["rsize=65536".into(), "hard".into()],
        };
        assert_eq!(netfs.device(), "nfs:/nfs-share");
        assert_eq!((pool.name.as_str(), &pool.kind), ("shared", &PoolKind::Netfs(netfs)));
        assert_eq!(pool.xml(), NETFS);
        let virsh = "<pool type='dir'><name>a &amp; b</name><capacity unit='bytes'>1</capacity>
            <allocation unit='bytes'>1</allocation><available unit='bytes'>0</available><source>\n</source>
            <target><path>/srv/a</path><permissions><mode>0711</mode></permissions></target></pool>";
        let pool = Pool::parse(virsh).unwrap();
        assert_eq!((pool.uuid, &pool.kind, pool.name.as_str()), (None, &PoolKind::Dir, "a & b"));
        assert_eq!(Pool::parse(&pool.xml()).unwrap(), pool);
    }

    #[track_caller]
    fn check_device(device: &str, expect: Option<(&str, &str)>) {
        assert_eq!(Netfs::split_device(device), expect, "{device}");
        if let Some((host, export)) = expect {
            let netfs =
                Netfs { host: host.into(), export: export.into(), version: None, options: Vec::new() };
            assert_eq!(netfs.device(), device);
        }
    }

    #[test]
    fn a_device_is_a_server_and_an_export() {
        check_device("nfs:/nfs-share", Some(("nfs", "/nfs-share")));
        check_device("192.0.2.7:/a:/b", Some(("192.0.2.7", "/a:/b")));
        check_device("[fd00::2]:/x", Some(("fd00::2", "/x")));
        check_device("nfs", None);
        check_device("nfs:share", None);
        check_device(":/share", None);
        check_device("[fd00::2]/x", None);
    }

    /// Every problem on a line of its own.
    fn problems(xml: &str) -> String {
        let error = Pool::parse(xml).expect_err("it is refused");
        error.problems.iter().map(|problem| format!("{problem}\n")).collect()
    }

    #[test]
    fn everything_wrong_is_said_at_once() {
        let xml = "<pool type='netfs' xmlns:fs='http://libvirt.org/schemas/storagepool/fs/1.0' colour='red'>
  <name>a/b</name>
  <uuid>4711</uuid>
  <source>
    <host name='n fs' port='2049'/>
    <dir path='share'/>
    <format type='glusterfs'/>
    <protocol ver='5'/>
  </source>
  <source/>
  <target><path>/srv/
x</path></target>
  <fs:mount_opts>
    <fs:option name='ro,dev'/>
    <fs:option name='suid'/>
    <fs:option name='vers=3'/>
    <fs:other/>
  </fs:mount_opts>
  <features/>
</pool>";
        insta::assert_snapshot!(problems(xml));
    }

    #[test]
    fn options_that_make_something_else_of_the_mount_are_refused() {
        let with = |option: &str| Pool::parse(&NETFS.replace("rsize=65536", option));
        for option in ["bg", "bind", "remount", "loop=/dev/loop0", "X-mount.subdir=a", "uhelper=x", "exec"] {
            assert!(with(option).is_err(), "{option}");
        }
        for option in ["soft", "ro", "timeo=50", "nconnect=4", "fg"] {
            assert!(with(option).is_ok(), "{option}");
        }
    }

    #[test]
    fn what_libvirt_has_and_is_not_supported_is_refused() {
        let typed = |kind: &str| {
            problems(&format!(
                "<pool type='{kind}'><name>a</name><target><path>/srv/a</path></target></pool>"
            ))
        };
        let all: String = ["logical", "fs", "rbd", "cloud"].iter().map(|kind| typed(kind)).collect();
        insta::assert_snapshot!(all);
        insta::assert_snapshot!(problems("<domain/>"), @"line 1, column 1, /domain: the outermost element is <domain>; give a libvirt <pool>, which has no namespace");
        insta::assert_snapshot!(problems("<pool/>"), @r"
        line 1, column 1, /pool: <pool> has no <name>; add <name>
        line 1, column 1, /pool: <pool> has no <target>; add <target><path>/srv/guests</path></target>
        line 1, column 1, /pool: <pool> has no `type`; write type='dir' or type='netfs'
        ");
        let name = "<name>a</name>";
        let twice = format!("<pool type='dir'>{name}{name}<target><path>/srv/../etc</path></target></pool>");
        insta::assert_snapshot!(problems(&twice), @r"
        line 1, column 32, /pool/name[2]: a second <name> in <pool>; keep one of the two
        line 1, column 54, /pool/target/path: `/srv/../etc` goes through `..`; write the path without it
        ");
    }
}
