//! The macro for QAPI enums whose unknown values are data, never errors.
//!
//! A newer QEMU may answer with a value that was not there when this was written; such a value becomes
//! `Other(text)` and is shown and passed on as it came.

/// Declares an enum of known QAPI values and `Other(String)`, with `as_str`, `Display`, `From<&str>`, serde, and
/// `KNOWN`, the list of the known values that tests compare with QEMU's schema.
macro_rules! open_enum {
    ($(#[$outer:meta])* pub enum $name:ident { $($(#[$inner:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$outer])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$inner])* $variant,)+
            /// A value that this version of Ferry does not know.
            Other(String),
        }

        impl $name {
            /// The values known here, as QEMU writes them.
            pub const KNOWN: &'static [&'static str] = &[$($text),+];

            /// The value as QEMU writes it.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Other(text) => text,
                }
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                match text {
                    $($text => Self::$variant,)+
                    other => Self::Other(other.to_owned()),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Ok(Self::from(text.as_ref()))
            }
        }
    };
}

pub(crate) use open_enum;

#[cfg(test)]
#[expect(unreachable_pub, reason = "the macro is for public enums")]
mod tests {
    open_enum! {
        /// Test.
        pub enum Colour {
            /// Red.
            Red = "red",
            /// Dark blue.
            DarkBlue = "dark-blue",
        }
    }

    fn check(text: &str, expect: Colour) {
        let json = format!("\"{text}\"");
        assert_eq!(serde_json::from_str::<Colour>(&json).unwrap(), expect);
        assert_eq!(serde_json::to_string(&expect).unwrap(), json);
        assert_eq!(expect.to_string(), text);
    }

    #[test]
    fn known_and_unknown_values_go_there_and_back() {
        check("red", Colour::Red);
        check("dark-blue", Colour::DarkBlue);
        check("ultra-violet", Colour::Other("ultra-violet".into()));
        assert_eq!(Colour::KNOWN, ["red", "dark-blue"]);
    }
}
