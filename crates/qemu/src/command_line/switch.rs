//! What a switch is, and QEMU's `first,key=value,…` syntax with its one escape. It knows no switch by name.

use std::ffi::{OsStr, OsString};
use std::fmt;

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

/// A list of properties. QEMU's option syntax (qemu(1)) knows one escape: a comma within a value is written twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Properties {
    text: OsString,
}

impl Properties {
    /// Begins with the implied first value, such as a driver's name. It has no comma.
    pub fn new(first: &str) -> Self {
        Self { text: first.into() }
    }

    /// `,key=value`.
    pub fn with(self, key: &str, value: impl fmt::Display) -> Self {
        self.with_os(key, value.to_string().as_ref())
    }

    /// `,key=value` with a path or the like, whatever its bytes.
    pub fn with_os(mut self, key: &str, value: &OsStr) -> Self {
        if !self.text.is_empty() {
            self.text.push(",");
        }
        self.text.push(key);
        self.text.push("=");
        self.text.push(comma_doubled(value));
        self
    }

    /// `,key=value` where there is a value.
    pub fn with_some(self, key: &str, value: Option<impl fmt::Display>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// `,key=on` or `,key=off`.
    pub fn with_switch(self, key: &str, on: bool) -> Self {
        self.with(key, if on { "on" } else { "off" })
    }

    /// The text.
    pub fn into_os_string(self) -> OsString {
        self.text
    }
}

impl fmt::Display for Properties {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text.to_string_lossy())
    }
}

fn comma_doubled(value: &OsStr) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let doubled =
        value.as_bytes().iter().flat_map(|byte| std::iter::repeat_n(*byte, 1 + usize::from(*byte == b',')));
    OsString::from_vec(doubled.collect())
}

#[cfg(test)]
mod tests {
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
}
