//! `<disk type='volume'>`: a disk that names a volume of a pool instead of a file. A pool is each host's own, so the disk
//! becomes the file that the volume is, before the definition is read. Main function: [`with_volumes_resolved`].

use std::path::PathBuf;

use crate::definition::tree;
use crate::edit::Editor;
use crate::problem::DefinitionError;
use crate::reader::{Node, Reader, is};

/// The text of a domain, or of a `<disk>`, with every disk of `type='volume'` made one of `type='file'`. `resolve` gets
/// the names of pool and volume, and gives the path of the file, or what is wrong and what to do about it.
///
/// # Errors
///
/// The text is no XML, names no pool or no volume, or `resolve` knows none.
pub fn with_volumes_resolved(
    xml: &str,
    mut resolve: impl FnMut(&str, &str) -> Result<PathBuf, (String, String)>,
) -> Result<String, DefinitionError> {
    let document = tree(xml)?;
    let mut reader = Reader::new(&document);
    let mut editor = Editor::new(document.input_text());
    let of_a_volume = |node: &Node<'_>| is(*node, "disk") && node.attribute("type") == Some("volume");
    for disk in document.descendants().filter(of_a_volume) {
        let Some(source) = reader.required_child(disk, "source", "add <source pool='…' volume='…'/>")
        else {
            continue;
        };
        reader.only(source, "mode", &["host"], "remove `mode`");
        let pool = reader.required(source, "pool", "write the pool's name as `pool`");
        let volume = reader.required(source, "volume", "write the volume's name as `volume`");
        let (Some(pool), Some(volume)) = (pool, volume) else { continue };
        match resolve(pool, volume).map(|path| path.into_os_string().into_string()) {
            Ok(Ok(path)) => {
                editor.set_attribute(disk, "type", "file");
                for name in ["pool", "volume", "mode"] {
                    editor.remove_attribute(source, name);
                }
                editor.set_attribute(source, "file", &path);
            }
            Ok(Err(_)) => reader.refuse(source, "the path of the volume is not UTF-8", "rename the file"),
            Err((message, mend)) => reader.refuse(source, message, mend),
        }
    }
    let (problems, _) = reader.finish();
    if problems.is_empty() { Ok(editor.finish()) } else { Err(DefinitionError { problems }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(pool: &str, volume: &str) -> Result<PathBuf, (String, String)> {
        match pool {
            "shared" => Ok(PathBuf::from("/srv/shared").join(volume)),
            _ => Err((format!("there is no pool `{pool}`"), "define it".to_owned())),
        }
    }

    #[track_caller]
    fn check(disks: &str, expect: &str) {
        let resolved = with_volumes_resolved(&format!("<domain>{disks}</domain>"), resolve);
        let shown = resolved.unwrap_or_else(|error| error.to_string());
        assert_eq!(shown, format!("<domain>{expect}</domain>"));
    }

    #[test]
    fn a_volume_is_a_file() {
        check(
            "<disk type='volume' device='disk'>\n <source pool='shared' volume='a&amp;b' startupPolicy='optional'>\n</source></disk>",
            "<disk type='file' device='disk'>\n <source startupPolicy='optional' file='/srv/shared/a&amp;b'>\n</source></disk>",
        );
        check(
            "<disk type='volume'><source volume='v' mode='host' pool='shared'/></disk>",
            "<disk type='file'><source file='/srv/shared/v'/></disk>",
        );
        let untouched = "<disk type='file'><source file='/srv/a'/></disk>";
        check(untouched, untouched);
    }

    #[test]
    fn what_cannot_be_resolved_is_said_at_its_place() {
        let xml = "<disk type='volume'>\n<source pool='other' volume='v'/></disk>";
        insta::assert_snapshot!(with_volumes_resolved(xml, resolve).unwrap_err(), @"the definition cannot be used: line 2, column 1, /disk/source: there is no pool `other`; define it");
        let xml = "<disk type='volume'><source volume='v' mode='direct'/></disk>";
        insta::assert_snapshot!(with_volumes_resolved(xml, resolve).unwrap_err(), @"the definition cannot be used: line 1, column 21, /disk/source: <source> has no `pool`; write the pool's name as `pool` (and 1 more)");
        insta::assert_snapshot!(with_volumes_resolved("<disk type='volume'/>", resolve).unwrap_err(), @"the definition cannot be used: line 1, column 1, /disk: <disk> has no <source>; add <source pool='…' volume='…'/>");
    }
}
