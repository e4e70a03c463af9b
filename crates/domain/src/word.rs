//! Enums whose values are words of the domain XML, written once with their word.
//! It never reads XML itself; the reader's `word` takes any [`Word`].

/// A closed set of words that an attribute or a text may hold.
pub(crate) trait Word: Copy + 'static {
    /// Every value with its word, in the order in which a message lists them.
    const WORDS: &'static [(&'static str, Self)];
}

/// Declares an enum together with the words of its values.
macro_rules! words {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_meta])* $variant,)+ }

        impl $name {
            /// The word that libvirt's domain XML uses.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(self.as_str())
            }
        }

        impl crate::word::Word for $name {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$variant),)+];
        }
    };
}
pub(crate) use words;
