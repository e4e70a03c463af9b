//! Files and block devices that are copied: source and target of one process, on real filesystems and loop devices. They
//! need root, qemu-img and losetup, and fail without.

mod files;

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use files::{BLOCK, Loop, allocated, fill, in_mount_namespace, noise, sparse};
use rustix::mount::{MountFlags, mount};
use storage::{
    Export, ExportError, Held, ImageFormat, Line, Link, Opening, Original, Proof, Replica, There,
    TransferError, create, discard_replica, forget_replica, rebase,
};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

const MIB: u64 = 1 << 20;

/// A directory with an original, and where its copy is to be.
struct Trip {
    directory: TempDir,
    line: Arc<Line>,
    there: There,
    proof: Proof,
}

impl Trip {
    fn new() -> Trip {
        let directory = tempfile::tempdir().unwrap();
        Trip { directory, line: Arc::new(Line::new(0)), there: There::Nothing, proof: Proof::Disk }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn source(&self) -> PathBuf {
        self.path("source.img")
    }

    fn target(&self) -> PathBuf {
        self.path("target.img")
    }

    fn hidden(&self) -> PathBuf {
        self.path(".target.img.ferry-7-0")
    }

    async fn original(&self) -> Arc<Original> {
        Original::open(&self.source()).await.unwrap()
    }

    fn opening(&self, original: &Original) -> Opening {
        Opening {
            path: self.target(),
            there: self.there,
            tag: "7-0".to_owned(),
            log: self.path("log"),
            length: original.length(),
            stamp: original.stamp(),
            proof: self.proof,
        }
    }

    async fn replica(&self, original: &Original) -> Result<Replica, TransferError> {
        Replica::open(self.opening(original)).await
    }

    /// Copies all that is missing, and says how many bytes of content were sent for it.
    async fn carry(&self, original: &Arc<Original>, replica: &Replica) -> Result<u64, TransferError> {
        let before = self.line.figures().content_bytes;
        let held = Held::decode(&replica.held().await?.encode(), original.length())?;
        let sender = original.send(held, &self.line)?;
        let streams = [sender.stream(), sender.stream(), sender.stream()];
        let [one, two, three] = streams.map(|stream| replica.take(stream));
        let (one, two, three) = tokio::join!(one, two, three);
        let root = sender.root().await;
        one.and(two).and(three)?;
        replica.complete(root?).await?;
        assert_eq!(sender.done_bytes(), original.content_bytes());
        Ok(self.line.figures().content_bytes - before)
    }

    async fn carry_whole(&self) {
        let original = self.original().await;
        let replica = self.replica(&original).await.unwrap();
        self.carry(&original, &replica).await.unwrap();
        replica.publish().await.unwrap();
        self.assert_equal();
    }

    #[track_caller]
    fn assert_equal(&self) {
        assert!(
            fs::read(self.source()).unwrap() == fs::read(self.target()).unwrap(),
            "the copy is another one"
        );
    }
}

#[track_caller]
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[tokio::test]
async fn files_of_every_shape_arrive_with_their_holes() {
    let full: Vec<(u64, u64)> = vec![(0, 3 * MIB)];
    for (what, length, data) in [
        ("empty", 0, vec![]),
        ("one byte", 1, vec![(0, 1)]),
        ("a hole", 5 * MIB, vec![]),
        ("full", 3 * MIB, full),
        ("a short last block", 3 * MIB + 70_001, vec![(0, 100), (2 * MIB, MIB + 70_001)]),
        ("sparse", 200 * MIB, vec![(10 * MIB, 3 * MIB), (64 * MIB + BLOCK, BLOCK), (199 * MIB, MIB)]),
        ("less than a block in a hole", 8 * MIB, vec![(3 * MIB + 4096, 4096)]),
    ] {
        for level in [0, 1] {
            let trip = Trip::new();
            trip.line.set_level(level);
            sparse(&trip.source(), length, &data);
            trip.carry_whole().await;
            let (source, target) = (allocated(&trip.source()), allocated(&trip.target()));
            let blocks = data.len() as u64 * 2 * BLOCK;
            assert!(target <= source + blocks, "{what}: {target} bytes for {source}");
            assert_eq!(fs::metadata(trip.target()).unwrap().permissions().mode() & 0o777, 0o600);
            assert!(!trip.hidden().exists(), "{what}");
        }
    }
}

#[tokio::test]
async fn zeros_that_take_room_do_not_travel() {
    let trip = Trip::new();
    fs::write(trip.source(), vec![0; 4 << 20]).unwrap();
    fill(&File::options().write(true).open(trip.source()).unwrap(), MIB, BLOCK, 1);
    trip.carry_whole().await;
    let figures = trip.line.figures();
    assert_eq!((figures.content_bytes, figures.read_bytes), (BLOCK, 4 * MIB));
    assert!(figures.wire_bytes < BLOCK + 200);
    assert!(allocated(&trip.target()) <= 2 * BLOCK);
}

#[tokio::test]
async fn an_image_arrives_with_its_snapshots() {
    let trip = Trip::new();
    create(&trip.source(), 64 * MIB, ImageFormat::Qcow2).await.unwrap();
    files::qemu_io(&trip.source(), &["write -P 7 1M 2M", "write -P 9 40M 64k"]);
    files::qemu_img(&["snapshot", "-c", "before", trip.source().to_str().unwrap()]);
    files::qemu_io(&trip.source(), &["write -P 8 1M 1M"]);
    trip.carry_whole().await;
    let [source, target] = [trip.source(), trip.target()].map(|path| path.to_str().unwrap().to_owned());
    files::qemu_img(&["compare", &source, &target]);
    files::qemu_img(&["check", &target]);
    assert!(files::qemu_img(&["snapshot", "-l", &target]).contains("before"));
}

#[tokio::test]
async fn a_chain_stands_on_its_own_copies() {
    let trip = Trip::new();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (base, copied_base) = (trip.path("base.raw"), trip.path("moved, base.raw"));
    sparse(&base, 16 * MIB, &[(MIB, MIB), (9 * MIB, BLOCK)]);
    files::qemu_img(&["create", "-q", "-f", "qcow2", "-F", "raw", "-b", &text(&base), &text(&trip.source())]);
    files::qemu_io(&trip.source(), &["write -P 7 1M 64k"]);
    trip.carry_whole().await;
    fs::copy(&base, &copied_base).unwrap();
    rebase(&trip.target(), &copied_base, ImageFormat::Raw).await.unwrap();
    let image = storage::image(&trip.target(), ImageFormat::Qcow2).await.unwrap();
    assert_eq!((image.backing, image.backing_format.as_deref()), (Some(copied_base), Some("raw")));
    let hidden = trip.path("no longer there");
    fs::rename(&base, &hidden).unwrap();
    let read = files::qemu_img(&["check", &text(&trip.target())]);
    assert!(read.contains("No errors"), "{read}");
    files::qemu_img(&["convert", "-O", "raw", &text(&trip.target()), &text(&trip.path("whole"))]);
    fs::rename(&hidden, &base).unwrap();
    files::qemu_img(&["compare", &text(&trip.source()), &text(&trip.path("whole"))]);
}

#[tokio::test]
async fn a_chain_becomes_one_image_of_any_format() {
    let trip = Trip::new();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let base = trip.path("base, with a comma.raw");
    sparse(&base, 32 * MIB, &[(MIB, MIB), (9 * MIB, BLOCK)]);
    files::qemu_img(&["create", "-q", "-f", "qcow2", "-F", "raw", "-b", &text(&base), &text(&trip.source())]);
    files::qemu_io(&trip.source(), &["write -P 7 1M 64k", "write -z 9M 64k"]);
    let link = |path: PathBuf, format| Link { path, format };
    let chain = [link(trip.source(), ImageFormat::Qcow2), link(base.clone(), ImageFormat::Raw)];
    let shown = Export::read(&chain, &trip.path("shown")).await.unwrap();
    let original = Original::open_export(shown.place(), &[trip.source(), base.clone()]).await.unwrap();
    assert_eq!(original.length(), 32 * MIB);
    let whole = trip.path("whole.qcow2");
    create(&whole, 32 * MIB, ImageFormat::Qcow2).await.unwrap();
    let written =
        Export::write(&link(whole.clone(), ImageFormat::Qcow2), &trip.path("written")).await.unwrap();
    let opening =
        Opening { path: written.place().to_owned(), there: There::Older, ..trip.opening(&original) };
    let replica = Replica::open(opening).await.unwrap();
    assert!(trip.carry(&original, &replica).await.unwrap() <= 2 * MIB);
    drop((replica, original));
    written.end().await.unwrap();
    shown.end().await.unwrap();
    assert!(!trip.path("shown").exists() && !trip.path("written").exists());
    files::qemu_img(&["check", &text(&whole)]);
    files::qemu_img(&["compare", &text(&trip.source()), &text(&whole)]);
    assert!(storage::image(&whole, ImageFormat::Qcow2).await.unwrap().backing.is_none());
    assert!(allocated(&whole) < 3 * MIB);

    let missing = [link(trip.path("not there"), ImageFormat::Raw)];
    assert!(matches!(Export::read(&missing, &trip.path("x")).await, Err(ExportError::Disk(_))));
    let wrong = [link(base, ImageFormat::Qcow2)];
    let refused = Export::read(&wrong, &trip.path("x")).await.unwrap_err().to_string();
    assert!(refused.contains("not in qcow2 format"), "{refused}");
    assert!(!trip.path("x").exists());
}

#[tokio::test]
async fn what_can_shrink_is_compressed_and_what_cannot_is_not() {
    for (content, shrinks) in
        [(b"the same words again and again ".repeat(1 << 16), true), (noise(2 << 20, 3), false)]
    {
        let trip = Trip::new();
        trip.line.set_level(3);
        fs::write(trip.source(), content).unwrap();
        trip.carry_whole().await;
        let figures = trip.line.figures();
        assert_eq!(figures.wire_bytes < figures.content_bytes / 4, shrinks, "{figures:?}");
    }
}

#[test]
fn a_block_device_is_copied_and_copied_to() {
    let trip = Trip::new();
    sparse(&trip.path("from"), 8 * MIB, &[(MIB, MIB), (5 * MIB, BLOCK)]);
    // What is there already is wrong in places where the original has nothing.
    fs::write(trip.path("to"), noise(9 << 20, 9)).unwrap();
    let (from, to) = (Loop::new(&trip.path("from")), Loop::new(&trip.path("to")));
    runtime().block_on(async {
        let original = Original::open(from.path()).await.unwrap();
        assert_eq!((original.length(), original.content_bytes()), (8 * MIB, 8 * MIB));
        let opening = Opening { path: to.path().to_owned(), ..trip.opening(&original) };
        let replica = Replica::open(opening.clone()).await.unwrap();
        trip.carry(&original, &replica).await.unwrap();
        replica.publish().await.unwrap();
        assert_eq!(replica.place(), to.path());
        let written = fs::read(to.path()).unwrap();
        assert!(written[..8 << 20] == fs::read(from.path()).unwrap());
        assert!(written[8 << 20..] == noise(9 << 20, 9)[8 << 20..], "what lies behind is left alone");

        let small = Loop::new(&trip.path("from"));
        let long =
            Opening { path: small.path().to_owned(), length: 8 * MIB + 1, log: trip.path("2"), ..opening };
        match Replica::open(long).await.unwrap_err() {
            TransferError::TooSmall { size, length, .. } => {
                assert_eq!((size, length), (8 * MIB, 8 * MIB + 1))
            }
            other => panic!("{other}"),
        }
    });
}

#[tokio::test]
async fn only_what_differs_travels_to_an_older_copy() {
    let mut trip = Trip::new();
    sparse(&trip.source(), 64 * MIB, &[(0, 16 * MIB), (40 * MIB, 8 * MIB)]);
    trip.carry_whole().await;
    forget_replica(&trip.path("log")).await.unwrap();
    let source = File::options().write(true).open(trip.source()).unwrap();
    for place in [3 * BLOCK, 17 * BLOCK, 40 * MIB, 63 * MIB] {
        fill(&source, place, BLOCK, 77);
    }
    // And what is no longer there must not be there: a hole in place of content.
    let flags = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&source, flags, 8 * MIB, 4 * MIB).unwrap();
    drop(source);

    let original = trip.original().await;
    let refused = trip.replica(&original).await.unwrap_err();
    assert!(matches!(refused, TransferError::Exists { .. }), "{refused}");
    trip.there = There::Older;
    let replica = trip.replica(&original).await.unwrap();
    let before = trip.line.figures();
    assert_eq!(trip.carry(&original, &replica).await.unwrap(), 4 * BLOCK);
    let wire_bytes = trip.line.figures().wire_bytes - before.wire_bytes;
    assert!(wire_bytes < 4 * BLOCK + 1000, "{wire_bytes}");
    trip.assert_equal();
    assert!(allocated(&trip.target()) <= allocated(&trip.source()) + 2 * BLOCK);
}

/// What a network still had when it was cut comes out of it when it is whole again, seconds later.
#[tokio::test]
async fn what_comes_late_of_an_earlier_try_is_not_written() {
    let trip = Trip::new();
    sparse(&trip.source(), 4 * MIB, &[(0, 4 * MIB)]);
    let original = trip.original().await;
    let replica = Arc::new(trip.replica(&original).await.unwrap());
    let other = Trip::new();
    fill(&File::create_new(other.source()).unwrap(), 0, 4 * MIB, 9);
    let (other, other_line) = (other.original().await, Arc::clone(&other.line));

    let nothing = || Held::nothing(4 * MIB).unwrap();
    let (parts, coming) = mpsc::channel(2);
    let taking = Arc::clone(&replica);
    let earlier = tokio::spawn(async move { taking.take(ReceiverStream::new(coming)).await });
    let sender = original.send(nothing(), &other_line).unwrap();
    let mut stream = sender.stream();
    for _head_and_payload in 0..2 {
        parts.send(stream.next().await.unwrap()).await.unwrap();
    }
    let first = async {
        while replica.taken_bytes() < MIB {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), first).await.expect("the first piece was written");

    // Nobody has told the target that the first try is over.
    assert_eq!(trip.carry(&original, &replica).await.unwrap(), 3 * MIB);
    replica.publish().await.unwrap();
    let sender = other.send(nothing(), &other_line).unwrap();
    let mut late = sender.stream();
    while let Some(part) = late.next().await {
        // Once it is refused, all of it is.
        if parts.send(part).await.is_err() {
            break;
        }
    }
    drop(parts);
    let ended = timeout(Duration::from_secs(20), earlier).await.expect("it has ended").unwrap();
    trip.assert_equal();
    assert!(matches!(ended, Err(TransferError::Cut { .. })), "{ended:?}");

    let sender = other.send(nothing(), &other_line).unwrap();
    let refused = replica.take(sender.stream()).await;
    assert!(matches!(refused, Err(TransferError::Cut { .. })), "{refused:?}");
    trip.assert_equal();
}

#[tokio::test]
async fn a_cut_costs_only_what_was_under_way() {
    let trip = Trip::new();
    sparse(&trip.source(), 32 * MIB, &[(0, 32 * MIB)]);
    let original = trip.original().await;
    let replica = trip.replica(&original).await.unwrap();
    let sender = original.send(replica.held().await.unwrap(), &trip.line).unwrap();
    // Ten heads, nine and a half payloads, and then the connection is gone.
    let mut parts = 0;
    let cut = sender.stream().take(20).map(move |part| {
        parts += 1;
        if parts == 20 {
            Err("the cable was pulled".to_owned())
        } else {
            part.map_err(|error| error.to_string())
        }
    });
    let error = replica.take(cut).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("the stream for {:?} was cut: the cable was pulled", trip.target())
    );
    let unfinished = sender.root().await.unwrap_err();
    assert!(matches!(unfinished, TransferError::Unfinished { .. }), "{unfinished}");
    drop(sender);
    assert_eq!(replica.held().await.unwrap().held_bytes(), 9 * MIB);
    assert_eq!(trip.carry(&original, &replica).await.unwrap(), 23 * MIB);

    // Whoever has died knows it all from the log, and reads none of it again.
    drop(replica);
    let original = trip.original().await;
    let replica = trip.replica(&original).await.unwrap();
    let before = trip.line.figures().read_bytes;
    assert_eq!(trip.carry(&original, &replica).await.unwrap(), 0);
    assert_eq!(trip.line.figures().read_bytes, before);
    replica.publish().await.unwrap();
    trip.assert_equal();

    // So it is after it got its name, too.
    drop(replica);
    let replica = trip.replica(&original).await.unwrap();
    assert_eq!(replica.place(), trip.target());
    assert_eq!(replica.held().await.unwrap().held_bytes(), 32 * MIB);
    replica.publish().await.unwrap();
}

#[tokio::test]
async fn a_changed_original_makes_an_older_copy_of_what_has_come() {
    let trip = Trip::new();
    sparse(&trip.source(), 8 * MIB, &[(0, 8 * MIB)]);
    let original = trip.original().await;
    trip.carry(&original, &trip.replica(&original).await.unwrap()).await.unwrap();
    fill(&File::options().write(true).open(trip.source()).unwrap(), MIB, BLOCK, 5);
    let original = trip.original().await;
    let replica = trip.replica(&original).await.unwrap();
    assert_eq!(trip.carry(&original, &replica).await.unwrap(), BLOCK);
    replica.publish().await.unwrap();
    trip.assert_equal();
}

#[tokio::test]
async fn a_source_that_changes_meanwhile_is_named() {
    let trip = Trip::new();
    sparse(&trip.source(), 4 * MIB, &[(0, 4 * MIB)]);
    let changed = format!(
        "{:?} changed while it was copied: find out who writes to it, and begin again",
        trip.source()
    );
    let original = trip.original().await;
    let replica = trip.replica(&original).await.unwrap();
    fill(&File::options().write(true).open(trip.source()).unwrap(), MIB, BLOCK, 5);
    assert_eq!(trip.carry(&original, &replica).await.unwrap_err().to_string(), changed);
    drop(replica);
    let original = trip.original().await;
    let replica = trip.replica(&original).await.unwrap();
    File::options().write(true).open(trip.source()).unwrap().set_len(MIB).unwrap();
    let error = trip.carry(&original, &replica).await.unwrap_err().to_string();
    assert!(error.contains(&changed), "{error}");
}

#[test]
fn a_source_that_cannot_be_read_is_named_with_the_place() {
    let trip = Trip::new();
    sparse(&trip.path("from"), 8 * MIB, &[(0, 8 * MIB)]);
    let device = Loop::new(&trip.path("from"));
    // What is missing below a loop device is an error of that device.
    File::options().write(true).open(trip.path("from")).unwrap().set_len(5 * MIB).unwrap();
    runtime().block_on(async {
        let original = Original::open(device.path()).await.unwrap();
        let sender = original.send(Held::nothing(original.length()).unwrap(), &trip.line).unwrap();
        let mut stream = sender.stream();
        let mut last = None;
        while let Some(part) = stream.next().await {
            last = Some(part);
        }
        assert!(last.unwrap().is_err());
        match sender.root().await.unwrap_err() {
            TransferError::Read { path, offset, .. } => {
                assert_eq!(path, device.path());
                assert_eq!(offset, 5 * MIB);
            }
            other => panic!("{other}"),
        }
    });
}

#[tokio::test]
async fn a_changed_byte_on_the_way_is_found_at_once() {
    for level in [0, 3] {
        let trip = Trip::new();
        trip.line.set_level(level);
        fs::write(trip.source(), b"the same words again and again ".repeat(1 << 17)).unwrap();
        let original = trip.original().await;
        let replica = trip.replica(&original).await.unwrap();
        let sender = original.send(replica.held().await.unwrap(), &trip.line).unwrap();
        let mut parts = 0;
        let changed = sender.stream().map(move |part| {
            parts += 1;
            let part = part.unwrap();
            if parts != 6 {
                return Ok::<_, std::io::Error>(part);
            }
            let mut bytes = part.to_vec();
            let place = bytes.len() / 2;
            bytes[place] ^= 1;
            Ok(Bytes::from(bytes))
        });
        let error = replica.take(changed).await.unwrap_err();
        match &error {
            TransferError::Wire { offset, .. } => assert!((2 * MIB..3 * MIB).contains(offset), "{error}"),
            other => panic!("{other}"),
        }
        drop(sender);
        assert_eq!(replica.held().await.unwrap().held_bytes(), 2 * MIB, "what came before it is good");
        trip.carry(&original, &replica).await.unwrap();
        replica.publish().await.unwrap();
        trip.assert_equal();
    }
}

#[test]
fn a_full_disk_is_said_and_the_copy_goes_on_when_there_is_room() {
    in_mount_namespace(|| {
        let trip = Trip::new();
        sparse(&trip.source(), 16 * MIB, &[(0, 16 * MIB)]);
        let small = trip.path("small");
        fs::create_dir(&small).unwrap();
        mount("none", &small, "tmpfs", MountFlags::empty(), Some(c"size=8m")).unwrap();
        runtime().block_on(async {
            let original = trip.original().await;
            let opening = Opening { path: small.join("target.img"), ..trip.opening(&original) };
            let replica = Replica::open(opening).await.unwrap();
            match trip.carry(&original, &replica).await.unwrap_err() {
                TransferError::NoSpace { path, .. } => assert_eq!(path, small.join("target.img")),
                other => panic!("{other}"),
            }
            assert!(!small.join("target.img").exists(), "it has no name before it is complete");
            rustix::mount::mount_remount(&small, MountFlags::empty(), "size=32m").unwrap();
            assert!(trip.carry(&original, &replica).await.unwrap() < 16 * MIB, "what has come is not lost");
            replica.publish().await.unwrap();
            assert!(fs::read(small.join("target.img")).unwrap() == fs::read(trip.source()).unwrap());
        });
        rustix::mount::unmount(&small, rustix::mount::UnmountFlags::DETACH).unwrap();
    });
}

#[tokio::test]
async fn nothing_is_written_over() {
    let trip = Trip::new();
    sparse(&trip.source(), MIB, &[(0, MIB)]);
    let original = trip.original().await;
    let replica = trip.replica(&original).await.unwrap();
    trip.carry(&original, &replica).await.unwrap();
    fs::write(trip.target(), "somebody else's").unwrap();
    let exists = replica.publish().await.unwrap_err();
    assert!(matches!(exists, TransferError::Exists { .. }), "{exists}");
    assert!(trip.hidden().exists(), "what has come is not lost");
    drop(replica);
    discard_replica(&trip.path("log")).await.unwrap();
    assert_eq!(fs::read(trip.target()).unwrap(), b"somebody else's");
    assert!(!trip.hidden().exists() && !trip.path("log").exists());
}

#[tokio::test]
async fn what_others_use_is_compared_and_never_written() {
    let mut trip = Trip::new();
    sparse(&trip.source(), 8 * MIB, &[(MIB, 2 * MIB)]);
    fs::copy(trip.source(), trip.target()).unwrap();
    trip.there = There::Kept;
    let written = || fs::metadata(trip.target()).map(|it| (it.ino(), it.mtime(), it.mtime_nsec())).unwrap();
    let before = written();
    let original = trip.original().await;
    let replica = trip.replica(&original).await.unwrap();
    assert_eq!(trip.carry(&original, &replica).await.unwrap(), 0, "nothing is sent of what is equal");
    replica.publish().await.unwrap();
    drop(replica);
    discard_replica(&trip.path("log")).await.unwrap();
    assert_eq!(written(), before);

    // Zeros are content, too: the original has a hole there.
    for (offset, bytes) in [(2 * MIB, noise(1 << 16, 5)), (5 * MIB, noise(1 << 16, 6))] {
        fs::copy(trip.source(), trip.target()).unwrap();
        let file = File::options().write(true).open(trip.target()).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &bytes, offset).unwrap();
        let other = fs::read(trip.target()).unwrap();
        let replica = trip.replica(&original).await.unwrap();
        let differs = trip.carry(&original, &replica).await.unwrap_err();
        assert!(matches!(differs, TransferError::Kept { .. }), "{differs}");
        drop(replica);
        discard_replica(&trip.path("log")).await.unwrap();
        assert!(fs::read(trip.target()).unwrap() == other, "it was written");
    }
    fs::write(trip.target(), "shorter").unwrap();
    let shorter = trip.replica(&original).await.unwrap_err();
    assert!(matches!(shorter, TransferError::Kept { .. }), "{shorter}");
    assert_eq!(fs::read(trip.target()).unwrap(), b"shorter");
}

#[tokio::test]
async fn a_copy_that_is_not_wanted_leaves_nothing_and_one_in_place_stays() {
    let mut trip = Trip::new();
    sparse(&trip.source(), MIB, &[(0, MIB)]);
    trip.carry_whole().await;
    let inode = fs::metadata(trip.target()).unwrap().ino();
    discard_replica(&trip.path("log")).await.unwrap();
    assert!(!trip.target().exists() && !trip.path("log").exists());
    discard_replica(&trip.path("log")).await.unwrap();

    fs::write(trip.target(), "an older copy").unwrap();
    trip.there = There::Older;
    trip.carry_whole().await;
    assert_ne!(fs::metadata(trip.target()).unwrap().ino(), inode);
    discard_replica(&trip.path("log")).await.unwrap();
    trip.assert_equal();
}

#[tokio::test]
async fn the_hash_over_the_whole_decides() {
    let trip = Trip::new();
    sparse(&trip.source(), MIB, &[(0, MIB)]);
    let original = trip.original().await;
    let replica = trip.replica(&original).await.unwrap();
    let sender = original.send(Held::nothing(MIB).unwrap(), &trip.line).unwrap();
    let unfinished = sender.root().await.unwrap_err();
    assert!(matches!(unfinished, TransferError::Unfinished { .. }), "{unfinished}");
    let mut stream = sender.stream();
    while stream.next().await.is_some() {}
    let error = replica.complete(sender.root().await.unwrap()).await.unwrap_err();
    assert!(matches!(error, TransferError::Differs { .. }), "nothing of it has come: {error}");
    let other = Held::nothing(2 * MIB).unwrap();
    assert!(matches!(original.send(other, &trip.line), Err(TransferError::Held { .. })));
}

#[test]
fn what_was_not_noted_is_sent_again_wherever_the_log_was_cut() {
    use proptest::prelude::*;

    const LENGTH: u64 = 4 * MIB + 1000;
    let trip = Trip { proof: Proof::Wire, ..Trip::new() };
    sparse(&trip.source(), LENGTH, &[(0, 2 * MIB), (3 * MIB, MIB + 1000)]);
    runtime().block_on(async {
        let original = trip.original().await;
        let replica = trip.replica(&original).await.unwrap();
        // In two steps, so that the log has several records.
        let sender = original.send(replica.held().await.unwrap(), &trip.line).unwrap();
        let _ = replica.take(sender.stream().take(3)).await;
        trip.carry(&original, &replica).await.unwrap();
    });
    let log = fs::read(trip.path("log")).unwrap();
    let runner = proptest::test_runner::Config::with_cases(40);
    proptest!(runner, |(cut in 0..=log.len(), junk in prop::collection::vec(any::<u8>(), 0..40))| {
        runtime().block_on(async {
            fs::write(trip.path("log"), [&log[..cut], &junk].concat()).unwrap();
            let original = trip.original().await;
            let held = trip.replica(&original).await.unwrap().held().await.unwrap().held_bytes();
            prop_assert!(held <= original.content_bytes());
            prop_assert!(cut < log.len() || held == original.content_bytes());
            if held == 0 {
                // What did not stand in the log may not have reached the disk either.
                fill(&File::options().write(true).open(trip.hidden()).unwrap(), MIB, MIB, 6);
            }
            let replica = trip.replica(&original).await.unwrap();
            match trip.carry(&original, &replica).await {
                Ok(_) => {}
                Err(error) => prop_assert!(false, "{error}"),
            }
            prop_assert!(fs::read(trip.source()).unwrap() == fs::read(trip.hidden()).unwrap());
            Ok(())
        })?;
    });
}
