//! What a switch is, and lists of properties: written in QEMU's `first,key=value,…` syntax, or as JSON for QMP. It
//! knows no switch by name.

use std::ffi::{OsStr, OsString};
use std::fmt;

use serde_json::{Map, Value};

/// One switch of QEMU's command line.
pub trait Switch {
    /// With its dash: `-machine`.
    fn name(&self) -> &'static str;
    /// What follows it.
    fn value(&self) -> Option<OsString>;
}

/// A switch whose value is written as it is.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'a>(
    /// Name.
    pub &'static str,
    /// Value.
    pub &'a str,
);

impl Switch for Plain<'_> {
    fn name(&self) -> &'static str {
        self.0
    }

    fn value(&self) -> Option<OsString> {
        Some(self.1.into())
    }
}

/// `-device`, or the arguments of QMP's `device_add`: `driver` and its properties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device(
    /// Begins with the driver's name.
    pub Properties,
);

impl Device {
    /// Arguments of `device_add`.
    pub fn arguments(&self) -> Map<String, Value> {
        self.0.arguments("driver")
    }
}

impl Switch for Device {
    fn name(&self) -> &'static str {
        "-device"
    }

    fn value(&self) -> Option<OsString> {
        Some(self.0.clone().into_os_string())
    }
}

/// `-object`, or the arguments of QMP's `object-add`, as JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct Object(
    /// `qom-type`, `id` and what the type has.
    pub Map<String, Value>,
);

impl Switch for Object {
    fn name(&self) -> &'static str {
        "-object"
    }

    fn value(&self) -> Option<OsString> {
        Some(Value::Object(self.0.clone()).to_string().into())
    }
}

/// A list of properties with their types. On the command line all of them are text; QMP wants a number as a number
/// and a boolean as a boolean, and refuses anything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Properties {
    first: String,
    list: Vec<(String, Setting)>,
}

/// The value of a property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// A string, an enum's word (`on` and `off` of an `OnOffAuto` too), an id, a path.
    Text(OsString),
    /// A number.
    Number(u64),
    /// A boolean, `on` or `off` on the command line.
    Bool(bool),
}

impl Properties {
    /// Begins with the implied first value, such as a driver's name. It has no comma.
    pub fn new(first: &str) -> Self {
        Self { first: first.to_owned(), list: Vec::new() }
    }

    /// `,key=value`.
    pub fn with(mut self, key: &str, value: impl Into<Setting>) -> Self {
        self.list.push((key.to_owned(), value.into()));
        self
    }

    /// `,key=value` with a path or the like, whatever its bytes.
    pub fn with_os(self, key: &str, value: &OsStr) -> Self {
        self.with(key, Setting::Text(value.to_owned()))
    }

    /// `,key=value` where there is a value.
    pub fn with_some(self, key: &str, value: Option<impl Into<Setting>>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// `,key=on` or `,key=off` of a boolean.
    pub fn with_switch(self, key: &str, on: bool) -> Self {
        self.with(key, Setting::Bool(on))
    }

    /// `,key=on` or `,key=off` of a boolean, where there is one.
    pub fn with_some_switch(self, key: &str, on: Option<bool>) -> Self {
        self.with_some(key, on.map(Setting::Bool))
    }

    /// `,key=on` or `,key=off` of QAPI's `OnOffAuto` or another enum with these words.
    pub fn with_on_off(self, key: &str, on: bool) -> Self {
        self.with(key, if on { "on" } else { "off" })
    }

    /// The text for the command line. QEMU's option syntax (qemu(1)) knows one escape: a comma within a value is
    /// written twice.
    pub fn into_os_string(self) -> OsString {
        let mut text = OsString::from(self.first);
        for (key, setting) in self.list {
            if !text.is_empty() {
                text.push(",");
            }
            text.push(key);
            text.push("=");
            match setting {
                Setting::Text(value) => text.push(comma_doubled(&value)),
                Setting::Number(number) => text.push(number.to_string()),
                Setting::Bool(on) => text.push(if on { "on" } else { "off" }),
            }
        }
        text
    }

    /// As an argument object of QMP, the first value under the key that the command line implies. A path that is not
    /// UTF-8, which no definition can hold, is written as well as JSON can.
    pub fn arguments(&self, implied: &str) -> Map<String, Value> {
        let mut all = Map::new();
        all.insert(implied.to_owned(), self.first.as_str().into());
        for (key, setting) in &self.list {
            let value = match setting {
                Setting::Text(text) => text.to_string_lossy().into(),
                Setting::Number(number) => (*number).into(),
                Setting::Bool(on) => (*on).into(),
            };
            all.insert(key.clone(), value);
        }
        all
    }
}

impl fmt::Display for Properties {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.clone().into_os_string().to_string_lossy())
    }
}

macro_rules! setting_from {
    ($variant:ident: $($from:ty),+) => {
        $(impl From<$from> for Setting {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        })+
    };
}
setting_from!(Text: &str, &String, String);
setting_from!(Number: u8, u16, u32, u64);

/// A text that another type writes: a MAC address, for one.
pub(super) fn text(value: impl fmt::Display) -> Setting {
    Setting::Text(value.to_string().into())
}

fn comma_doubled(value: &OsStr) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let doubled =
        value.as_bytes().iter().flat_map(|byte| std::iter::repeat_n(*byte, 1 + usize::from(*byte == b',')));
    OsString::from_vec(doubled.collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(properties: Properties, expect: &str) {
        assert_eq!(properties.to_string(), expect);
    }

    #[test]
    fn a_comma_in_a_value_is_doubled() {
        check(Properties::new("file").with("path", "/a,b"), "file,path=/a,,b");
        check(
            Properties::new("").with("guest", "a,b").with_switch("debug-threads", true),
            "guest=a,,b,debug-threads=on",
        );
        check(Properties::new("x").with_some("y", None::<u8>), "x");
    }

    #[test]
    fn types_are_kept_for_qmp() {
        let device = Properties::new("virtio-blk-pci")
            .with("serial", "12")
            .with("bootindex", 1_u32)
            .with_switch("share-rw", true)
            .with_on_off("write-cache", false);
        check(device.clone(), "virtio-blk-pci,serial=12,bootindex=1,share-rw=on,write-cache=off");
        let expect = json!({
            "driver": "virtio-blk-pci", "serial": "12", "bootindex": 1, "share-rw": true, "write-cache": "off",
        });
        assert_eq!(Value::Object(device.arguments("driver")), expect);
    }
}
