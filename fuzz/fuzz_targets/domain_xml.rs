//! Any text as a definition: it is read or refused. One that is read comes back byte for byte, and is frozen once and for
//! all.
#![no_main]

use domain::{Definition, Freezer, MacAddress};
use libfuzzer_sys::fuzz_target;
use uuid::Uuid;

/// Counts up.
struct Counting(u8);

impl Freezer for Counting {
    fn machine(&mut self, name: &str) -> Option<String> {
        match name {
            "q35" => Some("pc-q35-10.0".to_owned()),
            "pc" => Some("pc-i440fx-10.0".to_owned()),
            versioned => Some(versioned.to_owned()),
        }
    }

    fn uuid(&mut self) -> Uuid {
        Uuid::from_u128(7)
    }

    fn mac(&mut self) -> MacAddress {
        self.0 = self.0.wrapping_add(1);
        MacAddress([0x52, 0x54, 0, 0, 0, self.0])
    }
}

fuzz_target!(|text: &str| {
    let definition = match Definition::parse(text) {
        Ok(definition) => definition,
        Err(error) => {
            assert!(!error.problems.is_empty() && !error.to_string().is_empty());
            return;
        }
    };
    assert_eq!(definition.xml(), text);
    let Ok(frozen) = definition.freeze(&mut Counting(0)) else { return };
    let again = Definition::parse(frozen.xml()).expect("what freezing writes is read");
    assert_eq!(again.domain(), frozen.domain());
    assert_eq!(again.freeze(&mut Counting(99)).expect("it was frozen").xml(), frozen.xml());
});
