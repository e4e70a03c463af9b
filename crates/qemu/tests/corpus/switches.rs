//! A command line as a set of things that a guest can tell apart: read from Ferry's arguments and from libvirt's text,
//! and brought into one form. It knows QEMU's syntax and what is the host's alone; it judges nothing. The main type is
//! [`Line`].

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Properties of one switch, by name.
pub(crate) type Properties = BTreeMap<String, String>;

/// One switch that the guest may see, in one form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Thing {
    /// `-machine`, `-device virtio-blk-pci`.
    pub(crate) subject: String,
    /// Where it sits, so that two of a kind are told apart.
    pub(crate) place: String,
    /// Everything else.
    pub(crate) properties: Properties,
}

/// Everything on a command line that the guest may see.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    /// In order.
    pub(crate) things: Vec<Thing>,
}

/// Switches about QEMU as a process: its monitor, its sandbox, how it is stopped, who looks on.
const HOST_SIDE: [&str; 14] = [
    "-S",
    "-chardev",
    "-daemonize",
    "-display",
    "-incoming",
    "-mon",
    "-msg",
    "-name",
    "-no-user-config",
    "-nodefaults",
    "-overcommit",
    "-sandbox",
    "-spice",
    "-vnc",
];

/// What the first word of a value is, where it has no name.
fn implied(switch: &str) -> &'static str {
    match switch {
        "-machine" => "type",
        "-cpu" => "model",
        "-smp" => "cpus",
        "-accel" => "accel",
        "-device" => "driver",
        "-object" => "qom-type",
        "-netdev" | "-numa" | "-tpmdev" => "type",
        "-chardev" => "backend",
        "-audiodev" => "driver",
        "-vnc" => "display",
        "-m" => "size",
        "-watchdog-action" => "watchdog",
        _ => "value",
    }
}

impl Line {
    /// Reads arguments.
    pub(crate) fn read(arguments: &[String]) -> Line {
        let switches = switches(arguments);
        let drives = Drives::read(&switches);
        let backends = backends(&switches);
        let places = places(&switches);
        let mut line = Line::default();
        for (switch, properties) in &switches {
            if HOST_SIDE.contains(&switch.as_str()) {
                continue;
            }
            line.add(switch, properties.clone(), &drives, &backends, &places);
        }
        line.things.sort();
        line
    }

    fn add(
        &mut self,
        switch: &str,
        mut properties: Properties,
        drives: &Drives,
        backends: &BTreeMap<String, String>,
        places: &BTreeMap<String, String>,
    ) {
        match switch {
            // Seen through the devices that use them.
            "-blockdev" | "-netdev" | "-tpmdev" | "-audiodev" => return,
            "-no-shutdown" | "-no-reboot" | "-action" | "-watchdog-action" => {
                return self.actions(switch, properties);
            }
            "-machine" => {
                if let Some(accelerator) = properties.remove("accel") {
                    self.push("-accel", String::new(), [("accel".to_owned(), accelerator)].into());
                }
                for flash in ["pflash0", "pflash1"] {
                    if let Some(node) = properties.get_mut(flash) {
                        *node = drives.path(node);
                    }
                }
            }
            "-object" => return self.object(properties),
            "-m" => {
                for value in properties.values_mut() {
                    *value = bytes(value);
                }
            }
            "-smp" => {
                // QEMU's defaults, qemu(1).
                let cpus = properties.get("cpus").cloned();
                properties.retain(|key, value| match key.as_str() {
                    "maxcpus" => cpus.as_ref() != Some(value),
                    "dies" | "clusters" | "modules" => value != "1",
                    _ => true,
                });
            }
            "-device" => return self.device(properties, drives, backends, places),
            "-global" => properties = global(&properties),
            _ => {}
        }
        let place = match switch {
            "-global" => {
                format!(
                    "{}.{}",
                    properties.get("driver").cloned().unwrap_or_default(),
                    properties.get("property").cloned().unwrap_or_default()
                )
            }
            "-smbios" => properties.get("type").cloned().unwrap_or_default(),
            "-numa" => format!(
                "{} {}",
                properties.get("type").cloned().unwrap_or_default(),
                properties.get("nodeid").cloned().unwrap_or_default()
            ),
            _ => String::new(),
        };
        let subject = if switch == "-global" { format!("-global {place}") } else { switch.to_owned() };
        self.push(&subject, place, properties);
    }

    fn push(&mut self, subject: &str, place: String, properties: Properties) {
        // One switch may be given in parts.
        let same = self.things.iter_mut().find(|it| it.subject == subject && it.place == place);
        match same {
            Some(thing) if subject != "-device" => thing.properties.extend(properties),
            _ => self.things.push(Thing { subject: subject.to_owned(), place, properties }),
        }
    }

    /// libvirt's older switches say the same as `-action`.
    fn actions(&mut self, switch: &str, properties: Properties) {
        let properties = match switch {
            "-no-shutdown" => [("shutdown".to_owned(), "pause".to_owned())].into(),
            "-no-reboot" => [("reboot".to_owned(), "shutdown".to_owned())].into(),
            _ => properties,
        };
        self.push("-action", String::new(), properties);
    }

    /// Of the objects only memory and threads have to do with the guest; others are seen through their devices.
    fn object(&mut self, mut properties: Properties) {
        let kind = properties.remove("qom-type").unwrap_or_default();
        if !kind.starts_with("memory-backend") {
            return;
        }
        let id = properties.remove("id").unwrap_or_default();
        if let Some(size) = properties.get_mut("size") {
            *size = bytes(size);
        }
        self.push(&format!("-object {kind}"), id, properties);
    }

    fn device(
        &mut self,
        mut properties: Properties,
        drives: &Drives,
        backends: &BTreeMap<String, String>,
        places: &BTreeMap<String, String>,
    ) {
        let driver = properties.remove("driver").unwrap_or_default();
        properties.remove("id");
        if let Some(node) = properties.remove("drive") {
            for (key, value) in drives.of(&node) {
                properties.insert(format!("drive.{key}"), value);
            }
        }
        for key in ["chardev", "rng", "netdev", "tpmdev", "audiodev", "iothread"] {
            if let Some(id) = properties.get_mut(key) {
                *id = backends.get(id.as_str()).cloned().unwrap_or_else(|| format!("nothing called {id}"));
            }
        }
        if let Some(bus) = properties.get_mut("masterbus") {
            *bus = canonical_bus(bus, places);
        }
        let mut place = Vec::new();
        if let Some(bus) = properties.remove("bus") {
            place.push(canonical_bus(&bus, places));
        }
        for key in ["addr", "nr", "port", "channel", "scsi-id", "lun", "unit", "index", "cad"] {
            // A root port's `port` is a property, not its place.
            if key == "port" && driver.contains("root-port") {
                continue;
            }
            if let Some(value) = properties.remove(key) {
                place.push(format!("{key} {value}"));
            }
        }
        self.push(&format!("-device {driver}"), place.join(" "), properties);
    }
}

/// What differs between two lines: subject, property, the one's value, the other's. `-` stands for "is not there".
pub(crate) fn differences(ours: &Line, theirs: &Line) -> BTreeSet<[String; 4]> {
    let mut found = BTreeSet::new();
    let mut left: Vec<&Thing> = theirs.things.iter().collect();
    for thing in &ours.things {
        let pair = left.iter().position(|it| it.subject == thing.subject && it.place == thing.place);
        match pair.map(|at| left.remove(at)) {
            Some(other) => {
                let keys: BTreeSet<&String> =
                    thing.properties.keys().chain(other.properties.keys()).collect();
                for key in keys {
                    let value = |of: &Thing| of.properties.get(key).cloned().unwrap_or("-".to_owned());
                    let (this, that) = (value(thing), value(other));
                    if this != that {
                        found.insert([thing.subject.clone(), key.clone(), this, that]);
                    }
                }
            }
            None => {
                found.insert([
                    thing.subject.clone(),
                    place_or_all(thing),
                    "there".to_owned(),
                    "-".to_owned(),
                ]);
            }
        }
    }
    for thing in left {
        found.insert([thing.subject.clone(), place_or_all(thing), "-".to_owned(), "there".to_owned()]);
    }
    found
}

fn place_or_all(thing: &Thing) -> String {
    let all: Vec<String> = thing.properties.iter().map(|(key, value)| format!("{key}={value}")).collect();
    match (thing.place.as_str(), all.as_slice()) {
        ("", []) => "*".to_owned(),
        ("", _) => all.join(","),
        (place, _) => place.to_owned(),
    }
}

/// Pairs of switch and value, the values taken apart.
fn switches(arguments: &[String]) -> Vec<(String, Properties)> {
    let mut found: Vec<(String, Properties)> = Vec::new();
    for argument in arguments {
        match found.last_mut() {
            Some((switch, properties)) if !argument.starts_with('-') => {
                *properties = taken_apart(switch, argument);
            }
            _ => found.push((argument.clone(), Properties::new())),
        }
    }
    found
}

fn taken_apart(switch: &str, value: &str) -> Properties {
    let mut properties = Properties::new();
    if value.starts_with('{') {
        let json: Value = serde_json::from_str(value).unwrap_or_else(|error| panic!("{value}: {error}"));
        flatten("", &json, &mut properties);
        return properties;
    }
    if matches!(switch, "-kernel" | "-initrd" | "-append" | "-uuid") {
        return [("value".to_owned(), value.to_owned())].into();
    }
    for (place, part) in value.replace(",,", "\0").split(',').enumerate() {
        let part = part.replace('\0', ",");
        match part.split_once('=') {
            // `cpus` may be given in parts.
            Some(("cpus", value)) if switch == "-numa" => {
                let cpus = properties.entry("cpus".to_owned()).or_default();
                cpus.push_str(&range(value));
            }
            Some((key, value)) => drop(properties.insert(key.to_owned(), one_form(value))),
            None if place == 0 => drop(properties.insert(implied(switch).to_owned(), part)),
            None => drop(properties.insert(part, "on".to_owned())),
        }
    }
    properties
}

fn flatten(name: &str, json: &Value, into: &mut Properties) {
    match json {
        Value::Object(members) => {
            for (key, value) in members {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                flatten(&name, value, into);
            }
        }
        Value::Array(values) => {
            for (place, value) in values.iter().enumerate() {
                flatten(&format!("{name}.{place}"), value, into);
            }
        }
        Value::Bool(on) => drop(into.insert(name.to_owned(), if *on { "on" } else { "off" }.to_owned())),
        Value::String(text) => drop(into.insert(name.to_owned(), one_form(text))),
        Value::Number(number) => drop(into.insert(name.to_owned(), number.to_string())),
        Value::Null => {}
    }
}

/// Every number in `2-4`, or the one that it is.
fn range(text: &str) -> String {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.parse::<u32>().expect("cpus are numbers");
    (number(first)..=number(last)).map(|cpu| format!("{cpu} ")).collect()
}

/// Numbers in decimal, switches as `on` and `off`. `0x2.0x1`, a PCI address, stays.
fn one_form(text: &str) -> String {
    match text {
        "yes" | "true" => return "on".to_owned(),
        "no" | "false" => return "off".to_owned(),
        "" => return "\"\"".to_owned(),
        _ => {}
    }
    match text.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok()) {
        Some(number) => number.to_string(),
        None => text.to_owned(),
    }
}

/// `2097152k`, `2048M` and `2147483648` are one size. `-m` counts in MiB, objects in bytes.
fn bytes(text: &str) -> String {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let shift = match unit {
        "k" | "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => 0,
    };
    digits.parse::<u64>().map_or(text.to_owned(), |number| (number << shift).to_string())
}

/// `driver.property=value`, or all three by name.
fn global(properties: &Properties) -> Properties {
    if properties.contains_key("driver") {
        return properties.clone();
    }
    let (name, value) = properties.first_key_value().expect("a -global has a value");
    let (driver, property) = name.rsplit_once('.').expect("a -global names a property");
    [("driver", driver), ("property", property), ("value", value)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// Where each controller sits, by its id: `pci.4` is what sits at 0x2.0x3.
fn places(switches: &[(String, Properties)]) -> BTreeMap<String, String> {
    let mut places = BTreeMap::new();
    for (switch, properties) in switches {
        if switch == "-device"
            && let (Some(id), Some(driver)) = (properties.get("id"), properties.get("driver"))
        {
            let bus = properties.get("bus").map_or("", String::as_str);
            let address = properties.get("addr").map_or("", String::as_str);
            // Bridges are made before what sits on them.
            let bus = places.get(bus).cloned().unwrap_or(bus.to_owned());
            places.insert(id.clone(), format!("{driver}@{bus}/{address}"));
        }
    }
    places
}

/// A bus by the device that makes it. `usb.0` is the first bus of the device `usb`.
fn canonical_bus(bus: &str, places: &BTreeMap<String, String>) -> String {
    if let Some(place) = places.get(bus) {
        return format!("on {place}");
    }
    match bus.rsplit_once('.') {
        Some((id, number)) if places.contains_key(id) => format!("on {}.{number}", places[id]),
        _ => format!("on {bus}"),
    }
}

/// What a device's backend is, by its id: as much as the guest could tell.
fn backends(switches: &[(String, Properties)]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (switch, properties) in switches {
        let Some(id) = properties.get("id") else { continue };
        let what = match switch.as_str() {
            "-chardev" => properties.get("backend").cloned().unwrap_or_default(),
            "-netdev" => "a network".to_owned(),
            "-tpmdev" => properties.get("type").cloned().unwrap_or_default(),
            "-audiodev" => "sound".to_owned(),
            "-object" => {
                let kind = properties.get("qom-type").cloned().unwrap_or_default();
                let file = properties.get("filename").cloned().unwrap_or_default();
                format!("{kind} {file}").trim().to_owned()
            }
            _ => continue,
        };
        found.insert(id.clone(), what);
    }
    found
}

/// Block nodes by name.
struct Drives {
    nodes: BTreeMap<String, Properties>,
}

impl Drives {
    fn read(switches: &[(String, Properties)]) -> Drives {
        let nodes = switches.iter().filter(|(switch, _)| switch == "-blockdev");
        let nodes = nodes.filter_map(|(_, it)| Some((it.get("node-name")?.clone(), it.clone()))).collect();
        Drives { nodes }
    }

    /// The nodes from the one that the device uses down to the file.
    fn chain(&self, node: &str) -> Vec<&Properties> {
        let mut chain = Vec::new();
        let mut next = Some(node);
        while let Some(properties) = next.and_then(|name| self.nodes.get(name)) {
            chain.push(properties);
            next = properties.get("file").map(String::as_str);
        }
        chain
    }

    fn path(&self, node: &str) -> String {
        let chain = self.chain(node);
        let file = chain.last().and_then(|it| it.get("filename").or_else(|| it.get("path")));
        file.cloned().unwrap_or(format!("nothing called {node}"))
    }

    /// What the guest could tell of a disk's host side, and what decides about its data.
    fn of(&self, node: &str) -> Properties {
        let chain = self.chain(node);
        let (Some(top), Some(bottom)) = (chain.first(), chain.last()) else {
            return [("path".to_owned(), format!("nothing called {node}"))].into();
        };
        let mut all = Properties::new();
        let mut keep = |name: &str, value: Option<&String>| {
            if let Some(value) = value {
                all.insert(name.to_owned(), value.clone());
            }
        };
        keep("path", Some(&self.path(node)));
        let format = chain.iter().find(|it| it.contains_key("file") && it["driver"] != "throttle");
        let raw = "raw".to_owned();
        keep("format", Some(format.map_or(&raw, |it| &it["driver"])));
        let off = "off".to_owned();
        keep("read-only", Some(top.get("read-only").unwrap_or(&off)));
        keep("discard", top.get("discard"));
        keep("detect-zeroes", top.get("detect-zeroes"));
        keep("aio", bottom.get("aio"));
        keep("cache.direct", Some(bottom.get("cache.direct").unwrap_or(&off)));
        keep("cache.no-flush", Some(bottom.get("cache.no-flush").unwrap_or(&off)));
        all
    }
}
