//! Numbered, checksummed records, one a line, that the guest appends to a file and syncs one by one.
//!
//! ```text
//! 000000000042 2f1c…-boot-id-…9e 000000012345 89abcdef\n
//! number       boot id           uptime, ms   CRC-32 of all before, in hexadecimal
//! ```
//!
//! Whoever reads the file later (the guest itself, or the lab out of the disk image) can tell what is missing.
//! The main types are [`Record`] and [`Audit`]. Nothing here opens a file.

use std::fmt;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Counts from 1 over the life of the file, boots included.
    pub number: u64,
    /// The boot that wrote it.
    pub boot_id: String,
    /// The guest's clock in milliseconds since that boot.
    pub uptime_ms: u64,
}

impl fmt::Display for Record {
    /// The line without its end.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = format!("{:012} {} {:012}", self.number, self.boot_id, self.uptime_ms);
        write!(out, "{body} {:08x}", crc32fast::hash(body.as_bytes()))
    }
}

impl Record {
    /// Reads one line without its end; `None` when the checksum or the form is wrong.
    pub fn parse(line: &str) -> Option<Record> {
        let (body, sum) = line.rsplit_once(' ')?;
        if u32::from_str_radix(sum, 16).ok()? != crc32fast::hash(body.as_bytes()) {
            return None;
        }
        let mut words = body.split(' ');
        let record = Record {
            number: words.next()?.parse().ok()?,
            boot_id: words.next()?.to_owned(),
            uptime_ms: words.next()?.parse().ok()?,
        };
        words.next().is_none().then_some(record)
    }
}

/// What a whole file of records says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// Intact records.
    pub intact: u64,
    /// The highest number of an intact record; 0 in an empty file.
    pub last: u64,
    /// Numbers below `last` that no intact record has.
    pub missing: u64,
    /// Lines with an end that are not intact records.
    pub damaged: u64,
    /// Intact records whose number is not higher than one before them: two writers, or an old block.
    pub repeated: u64,
    /// Boot ids in the order in which they appear.
    pub boots: Vec<String>,
}

impl Audit {
    /// Reads all of `bytes`. A last line without its end was never synced, so it is not counted at all.
    pub fn of(bytes: &[u8]) -> Audit {
        let mut audit = Audit::default();
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        for line in bytes[..whole].split_inclusive(|byte| *byte == b'\n') {
            match str::from_utf8(&line[..line.len() - 1]).ok().and_then(Record::parse) {
                Some(record) => audit.take(record),
                None => audit.damaged += 1,
            }
        }
        audit
    }

    /// Records that should be there and are not: `missing + damaged + repeated`, never less than the real loss.
    pub fn lost(&self) -> u64 {
        self.missing + self.damaged + self.repeated
    }

    fn take(&mut self, record: Record) {
        self.intact += 1;
        if record.number <= self.last {
            self.repeated += 1;
        } else {
            self.missing += record.number - self.last - 1;
            self.last = record.number;
        }
        if self.boots.last() != Some(&record.boot_id) {
            self.boots.push(record.boot_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: u64) -> String {
        format!("{}\n", Record { number, boot_id: "b".to_owned(), uptime_ms: number * 50 })
    }

    fn check(file: &str, last: u64, missing: u64, damaged: u64, repeated: u64) {
        let audit = Audit::of(file.as_bytes());
        assert_eq!(
            (audit.last, audit.missing, audit.damaged, audit.repeated),
            (last, missing, damaged, repeated),
            "{file}"
        );
    }

    #[test]
    fn a_record_survives_its_line() {
        let record = Record { number: 7, boot_id: "x-y".to_owned(), uptime_ms: 3 };
        assert_eq!(Record::parse(&record.to_string()), Some(record));
    }

    #[test]
    fn a_changed_digit_is_noticed() {
        assert_eq!(Record::parse(&line(7).trim_end().replace('7', "8")), None);
    }

    #[test]
    fn whole_files_are_judged() {
        check("", 0, 0, 0, 0);
        check(&format!("{}{}{}", line(1), line(2), line(3)), 3, 0, 0, 0);
        check(&format!("{}{}", line(1), line(4)), 4, 2, 0, 0);
        check(&format!("{}{}{}", line(1), "\0\0\0\n", line(3)), 3, 1, 1, 0);
        check(&format!("{}{}{}", line(1), line(2), line(2)), 2, 0, 0, 1);
    }

    #[test]
    fn a_torn_last_line_was_never_promised() {
        let torn = line(3);
        check(&format!("{}{}{}", line(1), line(2), &torn[..torn.len() - 1]), 2, 0, 0, 0);
    }
}
