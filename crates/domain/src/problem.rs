//! What is wrong with a definition, where, and what to do about it: [`Problem`] and [`DefinitionError`].
//! It never decides what is wrong; the readers do.

use std::fmt;

/// One thing that is wrong with a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line in the text, the first is 1.
    pub line: u32,
    /// Column in the line, counted in characters, the first is 1.
    pub column: u32,
    /// Which element or attribute: `/domain/devices/disk[2]/driver/@cache`. A number stands where several siblings
    /// have the same name; it starts at 1, as in XPath. Empty where the text is not XML.
    pub element: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub mend: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}, column {}", self.line, self.column)?;
        if !self.element.is_empty() {
            write!(formatter, ", {}", self.element)?;
        }
        write!(formatter, ": {}; {}", self.message, self.mend)
    }
}

/// A definition that cannot be used, with everything that is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", summary(.problems))]
pub struct DefinitionError {
    /// Everything that was found, in the order of the text. Never empty.
    pub problems: Vec<Problem>,
}

fn summary(problems: &[Problem]) -> String {
    match problems {
        [] => "the definition cannot be used".to_owned(),
        [only] => format!("the definition cannot be used: {only}"),
        [first, rest @ ..] => {
            format!("the definition cannot be used: {first} (and {} more)", rest.len())
        }
    }
}
