//! Every bound of this crate, named.

/// Longest journal record in bytes. A definition is stored beside the journal, not in it, so records are small;
/// a longer length means that the bytes are not a record.
pub const JOURNAL_RECORD_BYTES_MAX: u32 = 64 * 1024;

/// Longest owner record in bytes; more is not an owner record.
pub const OWNER_RECORD_BYTES_MAX: usize = 4 * 1024;
