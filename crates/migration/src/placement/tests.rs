//! A domain with a chain, a device, a medium, variables and a TPM, placed in many ways.

use api::PoolKind;
use uuid::Uuid;

use super::*;

fn file(path: &str) -> StoredFile {
    StoredFile { path: path.into(), length_bytes: 300, allocated_bytes: 100 }
}

fn image(path: &str, format: &str, backing: Option<&str>) -> Image {
    let backing = backing.map(str::to_owned);
    Image { file: file(path), format: format.into(), virtual_bytes: 1000, backing, data_file: None }
}

/// A chain of three of which the lowest is in a pool of its own, a plain disk, a CD, variables and a TPM.
fn web1() -> Belongings {
    let disk = |name: &str, medium, images| Disk { name: name.into(), medium, images };
    Belongings {
        disks: vec![
            disk(
                "vda",
                false,
                vec![
                    image("/srv/web1.qcow2", "qcow2", Some("middle.qcow2")),
                    image("/srv/middle.qcow2", "qcow2", Some("/gold/base.img")),
                    image("/gold/base.img", "raw", None),
                ],
            ),
            disk("vdb", false, vec![image("/dev/vg/data", "raw", None)]),
            disk("sda", true, vec![image("/iso/debian.iso", "raw", None)]),
        ],
        variables: Some(file("/var/nvram/web1_VARS.fd")),
        tpm: vec![file("tpm2-00.permall")],
        bridges: vec!["br0".into(), "default".into()],
    }
}

fn pool(name: &str, path: &str) -> Pool {
    Pool {
        name: name.into(),
        uuid: Uuid::nil(),
        kind: PoolKind::Dir,
        path: path.into(),
        source: None,
        nfs_version: None,
        options: vec![],
        active: true,
        autostart: false,
        capacity_bytes: None,
        available_bytes: None,
        mounted_version: None,
        fault: None,
    }
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect()
}

fn placed(
    belongings: &Belongings,
    live: bool,
    copy: Option<&CopyStorage>,
    maps: &Maps,
) -> Result<Placement, PlacementError> {
    placed_beside(belongings, live, copy, maps, &BTreeSet::new())
}

fn placed_beside(
    belongings: &Belongings,
    live: bool,
    copy: Option<&CopyStorage>,
    maps: &Maps,
    shared: &BTreeSet<String>,
) -> Result<Placement, PlacementError> {
    let pools_here = [pool("srv", "/srv"), pool("gold", "/gold"), pool("empty", "/empty")];
    let pools_there = [pool("fast", "/mnt/fast"), pool("gold", "/gold")];
    place(belongings, &Wish { live, copy, maps, pools_here: &pools_here, pools_there: &pools_there, shared })
}

/// Each file that is copied: its path, what becomes of it, and what it stands on where that is written into it.
#[track_caller]
fn check(live: bool, copy: Option<CopyStorage>, maps: &Maps, expect: &[&str]) {
    let placement = placed(&web1(), live, copy.as_ref(), maps).expect("it can be placed");
    let lines = placement.files.iter().map(|Placed { from, file, chosen }| {
        let arrow = match (chosen, file.converted) {
            (_, true) => "converted to",
            (true, false) => "chosen",
            (false, false) => "to",
        };
        let backing = file.backing.as_ref().map(|backing| format!(" on {backing}"));
        format!("{from} {arrow} {}{}", file.path, backing.unwrap_or_default())
    });
    assert_eq!(lines.collect::<Vec<_>>(), expect);
}

#[test]
fn a_domain_keeps_its_paths() {
    check(
        false,
        Some(CopyStorage::default()),
        &Maps::default(),
        &[
            "/gold/base.img to /gold/base.img",
            "/srv/middle.qcow2 to /srv/middle.qcow2",
            "/srv/web1.qcow2 to /srv/web1.qcow2",
            "/dev/vg/data to /dev/vg/data",
            "/var/nvram/web1_VARS.fd to /var/nvram/web1_VARS.fd",
            "tpm2-00.permall to ",
        ],
    );
}

#[test]
fn what_lies_beside_no_disk_goes_without_a_copy_too() {
    check(
        false,
        None,
        &Maps::default(),
        &["/var/nvram/web1_VARS.fd to /var/nvram/web1_VARS.fd", "tpm2-00.permall to "],
    );
    let beside = Belongings { variables: Some(file("/srv/./web1_VARS.fd")), tpm: vec![], ..web1() };
    assert_eq!(placed(&beside, false, None, &Maps::default()).unwrap(), Placement::default());
    check(true, None, &Maps::default(), &[]);
}

#[test]
fn live_only_disks_go_and_media_where_asked() {
    check(
        true,
        Some(CopyStorage { media: true, flatten: true, ..CopyStorage::default() }),
        &Maps::default(),
        &[
            "/srv/web1.qcow2 converted to /srv/web1.qcow2",
            "/dev/vg/data converted to /dev/vg/data",
            "/iso/debian.iso converted to /iso/debian.iso",
        ],
    );
}

#[test]
fn a_pool_takes_along_what_is_in_it_and_names_follow() {
    let maps = Maps { pools: pairs(&[("srv", "fast")]), ..Maps::default() };
    check(
        false,
        Some(CopyStorage::default()),
        &maps,
        &[
            "/gold/base.img to /gold/base.img",
            // It names the lowest by its whole path, and the next one names it by one relative to itself.
            "/srv/middle.qcow2 chosen /mnt/fast/middle.qcow2",
            "/srv/web1.qcow2 chosen /mnt/fast/web1.qcow2",
            "/dev/vg/data to /dev/vg/data",
            "/var/nvram/web1_VARS.fd to /var/nvram/web1_VARS.fd",
            "tpm2-00.permall to ",
        ],
    );
    let maps = Maps { pools: pairs(&[("gold", "fast")]), ..Maps::default() };
    check(
        false,
        Some(CopyStorage::default()),
        &maps,
        &[
            "/gold/base.img chosen /mnt/fast/base.img",
            "/srv/middle.qcow2 to /srv/middle.qcow2 on /mnt/fast/base.img",
            "/srv/web1.qcow2 to /srv/web1.qcow2",
            "/dev/vg/data to /dev/vg/data",
            "/var/nvram/web1_VARS.fd to /var/nvram/web1_VARS.fd",
            "tpm2-00.permall to ",
        ],
    );
}

#[test]
fn a_disk_is_named_as_the_guest_has_it_or_by_its_path() {
    let disks = pairs(&[("vda", "/new/top.qcow2"), ("/dev/vg/data", "/dev/sdx")]);
    let maps = Maps { disks, pools: pairs(&[("srv", "fast")]), bridges: pairs(&[("default", "lan")]) };
    check(
        false,
        Some(CopyStorage::default()),
        &maps,
        &[
            "/gold/base.img to /gold/base.img",
            "/srv/middle.qcow2 chosen /mnt/fast/middle.qcow2",
            "/srv/web1.qcow2 chosen /new/top.qcow2 on /mnt/fast/middle.qcow2",
            "/dev/vg/data chosen /dev/sdx",
            "/var/nvram/web1_VARS.fd to /var/nvram/web1_VARS.fd",
            "tpm2-00.permall to ",
        ],
    );
    let placement = placed(&web1(), true, Some(&CopyStorage::default()), &maps).unwrap();
    let moved = [
        ("/dev/vg/data", "/dev/sdx"),
        ("/srv/middle.qcow2", "/mnt/fast/middle.qcow2"),
        ("/srv/web1.qcow2", "/new/top.qcow2"),
    ];
    assert_eq!(placement.paths, pairs(&moved));
}

/// What goes along shut off besides disks left out.
fn disks_alone() -> Belongings {
    Belongings { variables: None, tpm: vec![], ..web1() }
}

#[test]
fn one_image_below_two_disks_goes_once() {
    let mut two = disks_alone();
    two.disks[1].images = vec![
        image("/srv/data.qcow2", "qcow2", Some("../gold/base.img")),
        image("/srv/../gold/base.img", "raw", None),
    ];
    let placement = placed(&two, false, Some(&CopyStorage::default()), &Maps::default()).unwrap();
    let froms: Vec<_> = placement.files.iter().map(|placed| placed.from.as_str()).collect();
    assert_eq!(froms, ["/gold/base.img", "/srv/middle.qcow2", "/srv/web1.qcow2", "/srv/data.qcow2"]);
}

#[test]
fn what_the_target_sees_as_well_stays() {
    let shared = |path: &str| BTreeSet::from([path.to_owned()]);
    let copy = Some(&CopyStorage::default());
    let froms = |copy, shared: &BTreeSet<String>| -> Vec<String> {
        let placement = placed_beside(&disks_alone(), false, copy, &Maps::default(), shared).unwrap();
        placement.files.into_iter().map(|placed| placed.from).collect()
    };
    assert_eq!(
        froms(copy, &shared("/gold/base.img")),
        ["/srv/middle.qcow2", "/srv/web1.qcow2", "/dev/vg/data"]
    );
    let flat = CopyStorage { flatten: true, ..CopyStorage::default() };
    let top = shared("/srv/web1.qcow2");
    assert_eq!(froms(Some(&flat), &top), ["/gold/base.img", "/srv/middle.qcow2", "/dev/vg/data"]);
    let maps = Maps { disks: pairs(&[("/srv/middle.qcow2", "/srv/other.qcow2")]), ..Maps::default() };
    assert!(matches!(
        placed_beside(&web1(), false, copy, &maps, &top),
        Err(PlacementError::BackingStays { .. })
    ));
}

#[test]
fn a_target_sees_a_file_of_the_same_name_beside_the_sources_nonce() {
    let maps = Maps { disks: pairs(&[("vdb", "/srv/other.img")]), ..Maps::default() };
    let files = placed(&web1(), false, Some(&CopyStorage::default()), &maps).unwrap().files;
    let place = |path: &str, beside_nonce, there: bool| PlaceFacts {
        path: path.into(),
        beside_nonce,
        length_bytes: there.then_some(1),
        ..PlaceFacts::default()
    };
    let places = [
        place("/gold/base.img", true, true),
        place("/srv/middle.qcow2", true, false),
        place("/srv/web1.qcow2", false, true),
        // Another file on storage that both have.
        place("/srv/other.img", true, true),
    ];
    assert_eq!(seen(&files, &places), BTreeSet::from(["/gold/base.img".to_owned()]));
}

#[track_caller]
fn refused(belongings: &Belongings, copy: Option<&CopyStorage>, maps: Maps, expect: &str) {
    let error = placed(belongings, false, copy, &maps).expect_err("it cannot be");
    assert_eq!(error.to_string(), expect);
    assert!(!error.mend().is_empty());
}

#[test]
fn a_map_that_fits_nothing_says_what_there_is() {
    let copy = Some(&CopyStorage::default());
    let maps = |disks: &[_], pools: &[_], bridges: &[_]| Maps {
        disks: pairs(disks),
        pools: pairs(pools),
        bridges: pairs(bridges),
    };
    let (web1, maps) = (&web1(), &maps);
    refused(
        web1,
        copy,
        maps(&[("vdc", "/x")], &[], &[]),
        "the domain has no disk vdc: it has vda, vdb, sda, /srv/web1.qcow2, /srv/middle.qcow2, /gold/base.img, \
         /dev/vg/data, /iso/debian.iso, /var/nvram/web1_VARS.fd",
    );
    refused(
        web1,
        copy,
        maps(&[], &[("empty", "fast")], &[]),
        "there is no pool empty on the source that could be meant: there is srv, gold",
    );
    refused(
        web1,
        copy,
        maps(&[], &[("srv", "slow")], &[]),
        "there is no pool slow on the target that could be meant: there is fast, gold",
    );
    refused(
        web1,
        copy,
        maps(&[], &[], &[("br1", "br0")]),
        "the domain is on no bridge or network br1: it is on br0, default",
    );
    refused(
        web1,
        copy,
        maps(&[("vda", "/srv/../x")], &[], &[]),
        "the place \"/srv/../x\" for vda is not a whole path, without `..`",
    );
    refused(
        web1,
        copy,
        maps(&[("vda", "/gold/base.img")], &[], &[]),
        "/gold/base.img and /srv/web1.qcow2 would both become /gold/base.img on the target",
    );
}

#[test]
fn names_that_nobody_writes_must_lead_there() {
    refused(
        &web1(),
        None,
        Maps { pools: pairs(&[("gold", "fast")]), ..Maps::default() },
        "the image /srv/middle.qcow2 stands on /gold/base.img, which would be /mnt/fast/base.img on the target, and \
         names it by another path",
    );
    let mut apart = web1();
    apart.disks[0].images[0].data_file = Some("web1.raw".into());
    refused(
        &apart,
        Some(&CopyStorage::default()),
        Maps::default(),
        "the image /srv/web1.qcow2 keeps its blocks in web1.raw, and cannot be copied as one file",
    );
    let flat = CopyStorage { flatten: true, ..CopyStorage::default() };
    assert!(placed(&apart, false, Some(&flat), &Maps::default()).is_ok());
}
