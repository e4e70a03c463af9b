//! `<graphics>` and `<video>`: the screen and its adapter. It never opens a port.

use std::path::PathBuf;

use crate::address::PciAddress;
use crate::reader::{Node, Reader, is};
use crate::word::words;

/// `<graphics>`: how the screen is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graphics {
    /// Through what.
    pub protocol: Protocol,
    /// TCP port, 5900 or above; none: a free one is taken at start (`autoport`).
    pub port: Option<u16>,
    /// Where.
    pub listen: Listen,
    /// `keymap`: QEMU's `-k`.
    pub keymap: Option<String>,
}

/// Through what a screen is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `type='vnc'`.
    Vnc {
        /// `websocket`: a port for browsers.
        websocket: Option<Websocket>,
        /// `sharePolicy`: whether several may look at once; none leaves QEMU's default.
        share: Option<SharePolicy>,
        /// `powerControl`: whether who looks may power off and reset.
        power_control: Option<bool>,
    },
    /// `type='spice'`.
    Spice {
        /// What the elements within say, as QEMU's options of `-spice`.
        options: Vec<(&'static str, String)>,
    },
}

/// A VNC port for browsers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Websocket {
    /// A free one is taken at start.
    Auto,
    /// This one.
    Port(u16),
}

/// Where a screen is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An address or name of the host; `127.0.0.1` where not written.
    Address(String),
    /// A Unix socket; without a path, whoever starts the domain picks one.
    Socket(Option<PathBuf>),
    /// Nowhere.
    None,
}

words! {
    /// Whether several may look at a VNC screen at once.
    pub enum SharePolicy {
        /// Who comes and asks to be alone, disconnects the others.
        AllowExclusive = "allow-exclusive",
        /// Several may look.
        ForceShared = "force-shared",
        /// Everything is allowed.
        Ignore = "ignore",
    }
}

/// `<video>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Video {
    /// What the guest sees.
    pub model: VideoModel,
    /// `vram`: video memory in KiB, a power of two of at least 1024, for [`VideoModel::Vga`] (QEMU's `vgamem_mb`),
    /// [`VideoModel::Bochs`] (`vgamem`) and [`VideoModel::Qxl`] (`vram_size`); none leaves the model's usual.
    pub vram_kib: Option<u32>,
    /// `ram`: KiB, only for [`VideoModel::Qxl`] (QEMU's `ram_size`).
    pub ram_kib: Option<u32>,
    /// `vram64`: KiB, only for [`VideoModel::Qxl`] (QEMU's `vram64_size_mb`).
    pub vram64_kib: Option<u32>,
    /// `vgamem`: KiB, only for [`VideoModel::Qxl`] (QEMU's `vgamem_mb`).
    pub vgamem_kib: Option<u32>,
    /// `heads`: outputs, only for [`VideoModel::Virtio`] and [`VideoModel::Qxl`] (QEMU's `max_outputs`); 1 where not
    /// written.
    pub heads: u32,
    /// `<resolution>`: width and height at the beginning.
    pub resolution: Option<(u32, u32)>,
    /// `<address type='pci'>`; none for [`VideoModel::None`] and [`VideoModel::Ramfb`].
    pub address: Option<PciAddress>,
}

words! {
    /// What the guest sees as its graphics adapter.
    pub enum VideoModel {
        /// QEMU's `virtio-vga` as the primary adapter, else `virtio-gpu-pci`.
        Virtio = "virtio",
        /// QEMU's standard VGA (`VGA`).
        Vga = "vga",
        /// QEMU's `bochs-display`: no VGA, for UEFI.
        Bochs = "bochs",
        /// QEMU's `cirrus-vga`.
        Cirrus = "cirrus",
        /// SPICE's: QEMU's `qxl-vga` as the primary adapter, else `qxl`.
        Qxl = "qxl",
        /// A picture in the guest's memory (QEMU's `ramfb`).
        Ramfb = "ramfb",
        /// No adapter.
        None = "none",
    }
}

impl VideoModel {
    /// Whether it sits on a PCI bus.
    pub(crate) fn is_pci(self) -> bool {
        match self {
            VideoModel::Virtio
            | VideoModel::Vga
            | VideoModel::Bochs
            | VideoModel::Cirrus
            | VideoModel::Qxl => true,
            VideoModel::Ramfb | VideoModel::None => false,
        }
    }

    /// Whether it can be the primary adapter only.
    pub(crate) fn is_primary_only(self) -> bool {
        match self {
            VideoModel::Vga | VideoModel::Cirrus | VideoModel::Ramfb | VideoModel::None => true,
            VideoModel::Virtio | VideoModel::Bochs | VideoModel::Qxl => false,
        }
    }
}

impl Graphics {
    /// Reads `<graphics>`.
    pub(crate) fn read<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<Graphics> {
        let protocol = match reader.required(node, "type", "write type='vnc'")? {
            "vnc" => vnc(reader, node),
            "spice" => spice(reader, node),
            other => {
                let message = match other {
                    "sdl" | "egl-headless" | "dbus" | "desktop" => {
                        format!("`{other}` shows the screen on this host only")
                    }
                    other => format!("`{other}` is not supported as `type` of <graphics>"),
                };
                reader.refuse_attribute(node, "type", message, "write type='vnc', or remove the <graphics>");
                return None;
            }
        };
        let autoport = reader.flag(node, "autoport", "yes", "no").unwrap_or(false);
        for name in ["passwd", "passwdValidTo", "connected"] {
            if node.has_attribute(name) {
                let message = "a password would stand readable in every copy of the definition";
                let mend = "remove it, listen on 127.0.0.1, and reach the screen through ssh";
                reader.refuse_attribute(node, name, message, mend);
            }
        }
        let keymap = node.attribute("keymap");
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if let Some(keymap) = keymap
            && (keymap.is_empty() || !keymap.bytes().all(plain))
        {
            let message = format!("`{keymap}` is not a name of a key map");
            let mend = "write one of QEMU's, like `en-us`, or remove it";
            reader.refuse_attribute(node, "keymap", message, mend);
        }
        Some(Graphics {
            protocol,
            // A running domain's definition holds the port that was found, beside autoport='yes'.
            port: if autoport { None } else { port(reader, node) },
            listen: listen(reader, node),
            keymap: keymap.map(str::to_owned),
        })
    }
}

const ATTRIBUTES: [&str; 8] =
    ["type", "port", "autoport", "listen", "keymap", "passwd", "passwdValidTo", "connected"];

fn vnc<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Protocol {
    let mut attributes = ATTRIBUTES.to_vec();
    attributes.extend(["socket", "websocket", "sharePolicy", "powerControl", "wait"]);
    reader.vocabulary(node, &attributes, &["listen"]);
    reader.only(node, "wait", &["no"], "remove `wait`");
    let websocket = match node.attribute("websocket") {
        Some("-1") => Some(Websocket::Auto),
        _ => reader
            .number(node, "websocket", 1..=65535)
            .and_then(|port| u16::try_from(port).ok())
            .map(Websocket::Port),
    };
    Protocol::Vnc {
        websocket,
        share: reader.word(node, "sharePolicy"),
        power_control: reader.flag(node, "powerControl", "yes", "no"),
    }
}

/// What SPICE's elements say: element, attribute, QEMU's option.
const SPICE: &[(&str, &str, &str)] = &[
    ("image", "compression", "image-compression"),
    ("jpeg", "compression", "jpeg-wan-compression"),
    ("zlib", "compression", "zlib-glz-wan-compression"),
    ("playback", "compression", "playback-compression"),
    ("streaming", "mode", "streaming-video"),
];

fn spice<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Protocol {
    let mut attributes = ATTRIBUTES.to_vec();
    attributes.extend(["tlsPort", "defaultMode"]);
    let mut children: Vec<&str> = SPICE.iter().map(|(element, _, _)| *element).collect();
    children.extend(["listen", "clipboard", "filetransfer", "mouse", "gl", "channel"]);
    reader.vocabulary(node, &attributes, &children);
    let plaintext =
        "remove it: SPICE runs without TLS; listen on 127.0.0.1, and reach the screen through ssh";
    reader.only(node, "tlsPort", &["-1"], plaintext);
    reader.only(node, "defaultMode", &["any", "insecure"], plaintext);
    for channel in node.children().filter(|child| is(*child, "channel")) {
        reader.vocabulary(channel, &["name", "mode"], &[]);
        reader.only(channel, "mode", &["any", "insecure"], plaintext);
    }
    let mut options = Vec::new();
    for (element, attribute, option) in SPICE {
        if let Some(child) = reader.child(node, element) {
            reader.vocabulary(child, &[attribute], &[]);
            let value = reader.required(child, attribute, "remove the element").unwrap_or_default();
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            if !value.bytes().all(plain) {
                let message = format!("`{value}` is not a value of `{attribute}`");
                reader.refuse_attribute(child, attribute, message, "remove the element");
            }
            options.push((*option, value.to_owned()));
        }
    }
    let mut flag = |element: &str, attribute: &str, yes: &str, no: &str| {
        let child = reader.child(node, element)?;
        reader.vocabulary(child, &[attribute], &[]);
        reader.flag(child, attribute, yes, no)
    };
    if let Some(client) = flag("mouse", "mode", "client", "server") {
        options.push(("agent-mouse", if client { "on" } else { "off" }.to_owned()));
    }
    if flag("clipboard", "copypaste", "yes", "no") == Some(false) {
        options.push(("disable-copy-paste", "on".to_owned()));
    }
    if flag("filetransfer", "enable", "yes", "no") == Some(false) {
        options.push(("disable-agent-file-xfer", "on".to_owned()));
    }
    if let Some(gl) = reader.child(node, "gl") {
        reader.vocabulary(gl, &["enable", "rendernode"], &[]);
        reader.only(gl, "enable", &["no"], "write enable='no': 3D state cannot be moved");
    }
    Protocol::Spice { options }
}

fn port<'a>(reader: &mut Reader<'a>, graphics: Node<'a>) -> Option<u16> {
    if matches!(graphics.attribute("port"), Some("-1")) {
        return None;
    }
    let first = if graphics.attribute("type") == Some("vnc") { 5900 } else { 1 };
    reader.number(graphics, "port", first..=65535).and_then(|port| u16::try_from(port).ok())
}

/// The address is an attribute, a child element, or both with the same value.
fn listen<'a>(reader: &mut Reader<'a>, graphics: Node<'a>) -> Listen {
    let mut listen = graphics.attribute("listen");
    let mut socket = graphics.attribute("socket");
    let mut kind = if socket.is_some() { "socket" } else { "address" };
    let mut place = graphics;
    if let Some(node) = reader.child(graphics, "listen") {
        place = node;
        reader.vocabulary(node, &["type", "address", "socket", "network"], &[]);
        let mend = "write type='address' and an `address`";
        reader.only(node, "type", &["address", "socket", "none"], mend);
        kind = node.attribute("type").unwrap_or(kind);
        let address = node.attribute("address");
        if address.is_some() && listen.is_some() && address != listen {
            let message = "the address is not the same as `listen` of <graphics>";
            reader.refuse_attribute(node, "address", message, "keep one of the two");
        }
        listen = address.or(listen);
        socket = node.attribute("socket").or(socket);
    }
    match kind {
        "none" => return Listen::None,
        "socket" => {
            let attribute = place.has_attribute("socket").then_some("socket");
            return Listen::Socket(socket.and_then(|path| reader.path(place, attribute, path)));
        }
        _ => {}
    }
    let listen = listen.unwrap_or("127.0.0.1");
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    if listen.is_empty() || !listen.bytes().all(plain) {
        let message = format!("`{listen}` is not an address to listen on");
        reader.refuse(graphics, message, "write an IP address or a host name");
    }
    Listen::Address(listen.to_owned())
}

impl Video {
    /// Reads `<video>`, the `number`th from 0.
    pub(crate) fn read<'a>(reader: &mut Reader<'a>, node: Node<'a>, number: usize) -> Option<Video> {
        reader.vocabulary(node, &[], &["driver", "model", "alias", "address"]);
        if let Some(driver) = reader.child(node, "driver") {
            reader.vocabulary(driver, &["name"], &[]);
            reader.only(driver, "name", &["qemu"], "write name='qemu'");
        }
        let address = reader.pci_address(node);
        let model_node = reader.required_child(node, "model", "add <model type='virtio'/>")?;
        let attributes = ["type", "heads", "primary", "ram", "vram", "vram64", "vgamem", "blob", "edid"];
        reader.vocabulary(model_node, &attributes, &["acceleration", "resolution"]);
        reader.required(model_node, "type", "write type='virtio'")?;
        reader.only(model_node, "blob", &["off"], "remove `blob`: it cannot be moved");
        reader.only(model_node, "edid", &["on"], "remove `edid`");
        if let Some(acceleration) = reader.child(model_node, "acceleration") {
            reader.vocabulary(acceleration, &["accel3d", "accel2d", "rendernode"], &[]);
            reader.only(acceleration, "accel3d", &["no"], "write accel3d='no': 3D state cannot be moved");
        }
        let primary = if number == 0 { "yes" } else { "no" };
        reader.only(model_node, "primary", &[primary], "put the primary adapter first, and remove `primary`");
        let model: VideoModel = reader.word(model_node, "type")?;
        if number > 0 && model.is_primary_only() {
            let message = format!("`{model}` can only be the first adapter");
            reader.refuse_attribute(model_node, "type", message, "write type='virtio'");
        }
        if !model.is_pci() && address.is_some() {
            reader.refuse(node, "an address, and the adapter is on no bus", "remove the <address>");
        }
        let mut video = Video {
            model,
            vram_kib: None,
            ram_kib: None,
            vram64_kib: None,
            vgamem_kib: None,
            heads: 1,
            resolution: resolution(reader, model_node),
            address,
        };
        match model {
            VideoModel::Virtio => video.heads = reader.number(model_node, "heads", 1..=16).unwrap_or(1),
            VideoModel::Qxl => {
                video.heads = reader.number(model_node, "heads", 1..=64).unwrap_or(1);
                video.ram_kib = memory(reader, model_node, "ram");
                video.vram_kib = memory(reader, model_node, "vram");
                video.vgamem_kib = memory(reader, model_node, "vgamem");
                if model_node.attribute("vram64") != Some("0") {
                    video.vram64_kib = memory(reader, model_node, "vram64");
                }
            }
            VideoModel::Vga | VideoModel::Bochs => {
                reader.only(model_node, "heads", &["1"], "remove `heads`: this adapter has one output");
                video.vram_kib = memory(reader, model_node, "vram");
            }
            VideoModel::Cirrus | VideoModel::Ramfb | VideoModel::None => {
                reader.only(model_node, "heads", &["1"], "remove `heads`: this adapter has one output");
            }
        }
        Some(video)
    }
}

fn resolution<'a>(reader: &mut Reader<'a>, model: Node<'a>) -> Option<(u32, u32)> {
    let node = reader.child(model, "resolution")?;
    reader.vocabulary(node, &["x", "y"], &[]);
    for name in ["x", "y"] {
        reader.required(node, name, "write `x` and `y`");
    }
    reader.number(node, "x", 1..=65535).zip(reader.number(node, "y", 1..=65535))
}

fn memory<'a>(reader: &mut Reader<'a>, model: Node<'a>, name: &str) -> Option<u32> {
    let memory = reader.number(model, name, 1024..=1_048_576)?;
    if !memory.is_power_of_two() {
        let message = format!("{memory} KiB of video memory is not a power of two");
        reader.refuse_attribute(model, name, message, format!("write 16384, or remove `{name}`"));
    }
    Some(memory)
}
