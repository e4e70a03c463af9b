//! Rule `image-encrypted`: Ferry gives QEMU no secrets, so it starts no domain from an encrypted image, and reads none.

use super::rule::{Answer, Rule};

/// An image can be opened with a secret only.
pub(super) static IMAGE_ENCRYPTED: Rule = Rule {
    code: "image-encrypted",
    what: "whether QEMU needs a secret to open the images of a disk",
    why: "Ferry has no secrets: such an image goes along as the file that it is, and nothing that is in it can be read on the way",
    needed: true,
    judge: |facts| {
        let looked_at = facts.source.disks.iter().filter(|disk| disk.fault.is_none());
        let answers = looked_at.map(|disk| {
            let images = disk.encrypted.join(", ");
            if disk.encrypted.is_empty() {
                return Answer::pass().about(&disk.disk);
            }
            let path = &disk.encrypted[0];
            let decrypt = format!(
                "qemu-img convert --object secret,id=it,file=SECRET --image-opts \
                 driver=qcow2,encrypt.key-secret=it,file.filename={path} -O qcow2 NEW"
            );
            let answer = if facts.is_converted(&disk.disk) {
                let said =
                    format!("{images} is encrypted, and cannot become another image without its secret");
                Answer::fail(
                    said,
                    format!("leave out --flatten, and it goes as it is; or decrypt it: {decrypt}"),
                )
            } else {
                let said = format!(
                    "{images} is encrypted: it goes as it is, and {} cannot start from it",
                    facts.target_name
                );
                Answer::warn(said, format!("decrypt it: {decrypt}"))
            };
            answer.between("encrypted", "").about(&disk.disk)
        });
        answers.collect()
    },
};
