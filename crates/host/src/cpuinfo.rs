//! Reads the text of /proc/cpuinfo (proc_cpuinfo(5), x86). It opens no file. The main type is [`Cpu`].

use std::collections::BTreeSet;

/// What the text says of all processors together.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cpu {
    /// `vendor_id` of the first.
    pub(crate) vendor: String,
    /// `model name` of the first.
    pub(crate) model: String,
    /// The `flags` that all have: a guest may run on any of them.
    pub(crate) flags: BTreeSet<String>,
    /// How many there are.
    pub(crate) count: u32,
}

/// Reads one paragraph for each processor, lines `name<tab>: value`. The error is the name of a line that is
/// missing.
pub(crate) fn parse(text: &str) -> Result<Cpu, &'static str> {
    let mut vendor = None;
    let mut model = None;
    let mut flags: Option<BTreeSet<String>> = None;
    let mut count = 0;
    for line in text.lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        match name.trim() {
            "processor" => count += 1,
            "vendor_id" => vendor = vendor.or(Some(value.to_owned())),
            "model name" => model = model.or(Some(value.to_owned())),
            "flags" => {
                let here: BTreeSet<String> = value.split_whitespace().map(str::to_owned).collect();
                flags = Some(match flags {
                    None => here,
                    Some(before) => before.intersection(&here).cloned().collect(),
                });
            }
            _ => {}
        }
    }
    if count == 0 {
        return Err("processor");
    }
    Ok(Cpu {
        vendor: vendor.ok_or("vendor_id")?,
        model: model.ok_or("model name")?,
        flags: flags.ok_or("flags")?,
        count,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (vendor, model, number of flags, nx, processors), or the line that is missing.
    type Expected<'a> = Result<(&'a str, &'a str, usize, bool, u32), &'static str>;

    #[track_caller]
    fn check(text: &str, expect: Expected<'_>) {
        let parsed = parse(text);
        let got = parsed
            .as_ref()
            .map(|cpu| {
                (
                    cpu.vendor.as_str(),
                    cpu.model.as_str(),
                    cpu.flags.len(),
                    cpu.flags.contains("nx"),
                    cpu.count,
                )
            })
            .map_err(|field| *field);
        assert_eq!(got, expect, "{parsed:?}");
    }

    const INTEL: &str = include_str!("../tests/samples/cpuinfo-intel.txt");
    const AMD: &str = include_str!("../tests/samples/cpuinfo-amd.txt");
    const WITHOUT_NX: &str = include_str!("../tests/samples/cpuinfo-without-nx.txt");
    const ARM: &str = include_str!("../tests/samples/cpuinfo-arm.txt");

    #[test]
    fn intel() {
        check(INTEL, Ok(("GenuineIntel", "Intel(R) Xeon(R) Gold 6140 CPU @ 2.30GHz", 119, true, 2)));
        assert!(parse(INTEL).unwrap().flags.contains("vmx"));
    }

    #[test]
    fn amd() {
        check(AMD, Ok(("AuthenticAMD", "AMD EPYC", 92, true, 2)));
        assert!(parse(AMD).unwrap().flags.contains("sse4a"));
    }

    #[test]
    fn without_nx() {
        check(WITHOUT_NX, Ok(("GenuineIntel", "Intel(R) Pentium(R) 4 CPU 2.40GHz", 32, false, 1)));
    }

    #[test]
    fn a_flag_that_one_processor_lacks_does_not_count() {
        let text = "processor : 0\nvendor_id : A\nmodel name : B\nflags : a b nx\n\n\
                    processor : 1\nvendor_id : A\nmodel name : C\nflags : b nx c\n";
        check(text, Ok(("A", "B", 2, true, 2)));
    }

    #[test]
    fn what_is_missing_is_named() {
        check("", Err("processor"));
        check("processor : 0\n", Err("vendor_id"));
        check("processor : 0\nvendor_id : A\n", Err("model name"));
        check("processor : 0\nvendor_id : A\nmodel name : B\n", Err("flags"));
        check(ARM, Err("vendor_id"));
    }
}
