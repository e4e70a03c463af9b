//! Definitions that real tools printed (`crates/domain/tests/corpus/real`): each becomes a command line that means
//! what libvirt's means, and that the installed QEMU takes. What differs on purpose, is refused or is not in this
//! QEMU stands in `docs/compatibility.md`, and nowhere else.

mod accepted;
mod document;
mod files;
mod same;
mod switches;
