//! `<iothreads>` and `<iothreadids>`: the threads that serve disks. It never pins one to a processor.

use crate::limits::IOTHREADS_MAX;
use crate::reader::{Node, Reader, is, text, whole};

/// A thread that serves disks (QEMU's `iothread` object).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoThread {
    /// `<iothread id=…>`, from 1.
    pub id: u32,
    /// `thread_pool_min`: worker threads that always wait.
    pub thread_pool_min: Option<u32>,
    /// `thread_pool_max`: most worker threads.
    pub thread_pool_max: Option<u32>,
}

/// Reads both elements: the ids that are written, then the lowest free ones, as in libvirt.
pub(crate) fn read_all<'a>(reader: &mut Reader<'a>, root: Node<'a>) -> Vec<IoThread> {
    let mut all: Vec<IoThread> = Vec::new();
    if let Some(node) = reader.child(root, "iothreadids") {
        reader.vocabulary(node, &[], &["iothread"]);
        for child in node.children().filter(|child| is(*child, "iothread")) {
            reader.vocabulary(child, &["id", "thread_pool_min", "thread_pool_max"], &["poll"]);
            if let Some(poll) = reader.child(child, "poll") {
                reader.note(poll, "kept in the definition and not applied", "QEMU finds its own pace");
            }
            reader.required(child, "id", "write `id`, a number from 1");
            let Some(id) = reader.number(child, "id", 1..=u32::MAX) else { continue };
            if all.iter().any(|it| it.id == id) {
                reader.refuse_attribute(child, "id", format!("a second iothread {id}"), "renumber it");
            }
            let thread_pool_min = reader.number(child, "thread_pool_min", 0..=IOTHREADS_MAX);
            let thread_pool_max = reader.number(child, "thread_pool_max", 1..=IOTHREADS_MAX);
            all.push(IoThread { id, thread_pool_min, thread_pool_max });
        }
    }
    let Some(node) = reader.child(root, "iothreads") else { return all };
    reader.vocabulary(node, &[], &[]);
    let text = text(node);
    let wanted = whole(&text).and_then(|it| u32::try_from(it).ok()).filter(|it| *it <= IOTHREADS_MAX);
    let Some(wanted) = wanted else {
        let message = format!("`{}` is not a number of iothreads", text.trim());
        reader.refuse(node, message, format!("write a whole number up to {IOTHREADS_MAX}"));
        return all;
    };
    let missing = usize::try_from(wanted).unwrap_or(usize::MAX).saturating_sub(all.len());
    for _ in 0..missing {
        if let Some(id) = (1..).find(|id| all.iter().all(|it| it.id != *id)) {
            all.push(IoThread { id, thread_pool_min: None, thread_pool_max: None });
        }
    }
    all
}
