//! Directories that change under the source, by every means editors, tools and mounts use.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tidegate_decode::SourceState;
use tidegate_objects::{Key, Kind, Object, ObjectRef};
use tokio::sync::watch;

use crate::FileSource;

type States = watch::Receiver<Arc<SourceState>>;

fn namespace(name: &str, label: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n  labels:\n    x: \"{label}\"\n")
}

fn reference(name: &str) -> ObjectRef {
    ObjectRef { kind: Kind::Namespace, key: Key::new("files", "", name) }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), text).expect("written");
}

/// Writes beside and renames, as careful tools do.
fn replace(folder: &Path, name: &str, text: &str) {
    write(folder, ".new", text);
    fs::rename(folder.join(".new"), folder.join(name)).expect("renamed");
}

fn label(state: &SourceState, name: &str) -> Option<String> {
    let object = state.objects.get(&reference(name))?;
    object.metadata().labels.get("x").cloned()
}

fn names(state: &SourceState) -> Vec<String> {
    state.objects.objects().map(|object| object.metadata().key.to_string()).collect()
}

/// Waits for a state that fulfils the condition.
async fn until(
    states: &mut States,
    what: &str,
    condition: impl Fn(&SourceState) -> bool,
) -> Arc<SourceState> {
    let found = tokio::time::timeout(Duration::from_secs(5), states.wait_for(|state| condition(state))).await;
    found.unwrap_or_else(|_| panic!("within 5 s: {what}")).expect("the task lives").clone()
}

fn pointer(state: &SourceState, name: &str) -> *const () {
    match state.objects.get(&reference(name)) {
        Some(Object::Namespace(namespace)) => Arc::as_ptr(&namespace).cast(),
        other => panic!("{name}: {other:?}"),
    }
}

/// Nobody confirms anything.
fn unconfirmed() -> watch::Receiver<u64> {
    watch::channel(0).1
}

/// A load takes manifests of all depths by path, and nothing hidden, temporary or of another kind of file.
#[test]
fn load_once() {
    let folder = folder();
    let path = folder.path();
    fs::create_dir_all(path.join("sub/deeper")).expect("created");
    fs::create_dir_all(path.join(".git")).expect("created");
    for (file, name) in [
        ("a.yaml", "a"),
        ("sub/b.yml", "b"),
        (".hidden.yaml", "hidden"),
        (".git/c.yaml", "git"),
        ("d.yaml~", "backup"),
        ("e.txt", "text"),
    ] {
        write(path, file, &namespace(name, "1"));
    }
    write(path, "sub/deeper/c.json", r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"c"}}"#);
    symlink(path, path.join("sub/loop")).expect("linked");
    let state = FileSource::open("files", path.to_owned()).load_once();
    assert_eq!(names(&state), ["a", "b", "c"]);
    assert!(state.status.synced && state.status.errors.is_empty(), "{:?}", state.status);
    assert_eq!(state.status.objects, 3);
    let expected = format!("{}:1", path.join("a.yaml").display());
    assert_eq!(state.place(&reference("a"), ""), Some(expected));
    assert_eq!(state.place(&reference("z"), ""), None);
}

/// A single file counts whatever its name, and what is missing is an error that leaves the source unsynced.
#[test]
fn single_file_and_missing() {
    let folder = folder();
    write(folder.path(), "anything", &namespace("a", "1"));
    let state = FileSource::open("files", folder.path().join("anything")).load_once();
    assert_eq!(names(&state), ["a"]);
    let state = FileSource::open("files", folder.path().join("missing")).load_once();
    assert!(!state.status.synced);
    assert!(state.status.errors[0].message.starts_with("cannot be read"), "{:?}", state.status.errors);
}

/// Of two objects with one identity the first by path counts, and the error names both places.
#[test]
fn duplicate_identity() {
    let folder = folder();
    write(folder.path(), "a.yaml", &format!("# comment\n{}", namespace("a", "first")));
    write(folder.path(), "b.yaml", &namespace("a", "second"));
    let state = FileSource::open("files", folder.path().to_owned()).load_once();
    assert_eq!(label(&state, "a").as_deref(), Some("first"));
    let [error] = state.status.errors.as_slice() else { panic!("{:?}", state.status.errors) };
    assert!(error.file.ends_with("b.yaml") && error.line == 1, "{error:?}");
    assert!(error.message.contains("a.yaml:2"), "{error:?}");
}

/// A bad document keeps its own last good object, a bad file all of them; a document taken out goes.
#[test]
fn last_good() {
    let folder = folder();
    let mut source = FileSource::open("files", folder.path().to_owned());
    let three = |b: &str| format!("{}---\n{b}---\n{}", namespace("a", "1"), namespace("c", "1"));
    write(folder.path(), "x.yaml", &three(&namespace("b", "1")));
    assert_eq!(names(&source.load_once()), ["a", "b", "c"]);

    write(
        folder.path(),
        "x.yaml",
        &three(&namespace("b", "1").replace("\"1\"", "[1]")).replace("\"1\"", "two"),
    );
    let state = source.load_once();
    assert_eq!(
        ["a", "b", "c"].map(|name| label(&state, name)),
        ["two", "1", "two"].map(|x| Some(x.to_owned()))
    );
    let [error] = state.status.errors.as_slice() else { panic!("{:?}", state.status.errors) };
    assert_eq!(
        (error.line, error.field.as_str(), error.object.as_str()),
        (13, "metadata.labels.x", "Namespace b")
    );

    write(folder.path(), "x.yaml", "a: 'b\n");
    let state = source.load_once();
    assert_eq!(names(&state), ["a", "b", "c"]);
    assert_eq!((state.status.errors.len(), state.status.errors[0].line), (1, 1));

    write(folder.path(), "x.yaml", &namespace("b", "three"));
    let state = source.load_once();
    assert_eq!((names(&state), label(&state, "b")), (vec!["b".to_owned()], Some("three".into())));
    assert!(state.status.errors.is_empty());
}

/// Bytes that are no text are an error with a line, never a panic.
#[test]
fn not_text() {
    let folder = folder();
    fs::write(folder.path().join("a.yaml"), b"a: 1\nb: \xff\n").expect("written");
    let state = FileSource::open("files", folder.path().to_owned()).load_once();
    assert_eq!((state.status.errors[0].line, state.status.objects), (2, 0));
}

/// Files renamed into place, written in place, deleted and moved are followed; objects that did not change stay the
/// same pointers, even in another file.
#[tokio::test]
async fn changes() {
    let folder = folder();
    let path = folder.path();
    write(path, "a.yaml", &namespace("a", "1"));
    write(path, "b.yaml", &namespace("b", "1"));
    let (mut states, task) = FileSource::open("files", path.to_owned()).watch(unconfirmed());
    let first = states.borrow().clone();
    assert_eq!(names(&first), ["a", "b"]);

    replace(path, "a.yaml", &namespace("a", "renamed"));
    let state = until(&mut states, "renamed", |s| label(s, "a").as_deref() == Some("renamed")).await;
    assert_eq!(pointer(&state, "b"), pointer(&first, "b"));

    write(path, "a.yaml", &namespace("a", "written"));
    until(&mut states, "written", |s| label(s, "a").as_deref() == Some("written")).await;

    fs::remove_file(path.join("a.yaml")).expect("removed");
    until(&mut states, "deleted", |s| names(s) == ["b"]).await;

    fs::rename(path.join("b.yaml"), path.join("c.yaml")).expect("renamed");
    let moved = |s: &SourceState| s.place(&reference("b"), "").is_some_and(|place| place.contains("c.yaml"));
    let state = until(&mut states, "moved", moved).await;
    assert_eq!(pointer(&state, "b"), pointer(&first, "b"));

    replace(path, "c.yaml", "a: 'b\n");
    let state = until(&mut states, "bad", |s| s.status.errors.len() == 1).await;
    assert_eq!(pointer(&state, "b"), pointer(&first, "b"));
    replace(path, "c.yaml", &namespace("b", "2"));
    until(&mut states, "good again", |s| s.status.errors.is_empty() && label(s, "b").as_deref() == Some("2"))
        .await;
    drop(states);
    tokio::time::timeout(Duration::from_secs(5), task)
        .await
        .expect("ends with its receivers")
        .expect("no panic");
}

/// A file that is rewritten in place in several steps is never seen half written.
#[tokio::test]
async fn slow_writer() {
    use std::io::Write;
    let folder = folder();
    let path = folder.path();
    write(path, "a.yaml", &format!("{}---\n{}", namespace("a", "1"), namespace("b", "1")));
    let (mut states, _task) = FileSource::open("files", path.to_owned()).watch(unconfirmed());
    let mut file = fs::File::create(path.join("a.yaml")).expect("truncated");
    file.write_all(namespace("a", "2").as_bytes()).expect("written");
    for step in 0..8 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        // Others change meanwhile, so that the source looks around.
        replace(path, "other.yaml", &namespace("other", &format!("step{step}")));
        assert!(names(&states.borrow()).contains(&"b".to_owned()), "seen half written");
    }
    file.write_all(format!("---\n{}", namespace("b", "2")).as_bytes()).expect("written");
    drop(file);
    let state = until(&mut states, "closed", |s| label(s, "b").as_deref() == Some("2")).await;
    assert_eq!(label(&state, "a").as_deref(), Some("2"));
}

/// Folders that come later are watched, with what is in them already and what comes then.
#[tokio::test]
async fn later_folders() {
    let folder = folder();
    let path = folder.path();
    let (mut states, _task) = FileSource::open("files", path.to_owned()).watch(unconfirmed());
    fs::create_dir_all(path.join("new/deep")).expect("created");
    write(path, "new/deep/a.yaml", &namespace("a", "1"));
    until(&mut states, "first file", |s| names(s) == ["a"]).await;
    replace(path, "new/deep/a.yaml", &namespace("a", "2"));
    until(&mut states, "second", |s| label(s, "a").as_deref() == Some("2")).await;
    fs::remove_dir_all(path.join("new")).expect("removed");
    until(&mut states, "gone", |s| s.objects.is_empty()).await;
    fs::create_dir_all(path.join("new")).expect("created");
    write(path, "new/b.yaml", &namespace("b", "1"));
    until(&mut states, "again", |s| names(s) == ["b"]).await;
}

/// A mounted ConfigMap changes by one renamed link; both versions are never seen together.
#[tokio::test]
async fn config_map() {
    let folder = folder();
    let path = folder.path();
    for version in ["1", "2"] {
        fs::create_dir(path.join(format!("..version{version}"))).expect("created");
        write(path, &format!("..version{version}/a.yaml"), &namespace("a", version));
    }
    symlink("..version1", path.join("..data")).expect("linked");
    symlink("..data/a.yaml", path.join("a.yaml")).expect("linked");
    let (mut states, _task) = FileSource::open("files", path.to_owned()).watch(unconfirmed());
    assert_eq!(label(&states.borrow(), "a").as_deref(), Some("1"));
    symlink("..version2", path.join("..data_tmp")).expect("linked");
    fs::rename(path.join("..data_tmp"), path.join("..data")).expect("renamed");
    let state = until(&mut states, "swapped", |s| label(s, "a").as_deref() == Some("2")).await;
    assert!(state.status.errors.is_empty(), "{:?}", state.status.errors);
}

/// A directory that disappears leaves its last good objects in force, and is followed again when it returns.
#[tokio::test]
async fn vanished_directory() {
    let folder = folder();
    let path = folder.path().join("manifests");
    fs::create_dir(&path).expect("created");
    write(&path, "a.yaml", &namespace("a", "1"));
    let (mut states, _task) = FileSource::open("files", path.clone()).watch(unconfirmed());
    fs::rename(&path, folder.path().join("elsewhere")).expect("renamed");
    let state = until(&mut states, "missing", |s| s.status.errors.len() == 1).await;
    assert_eq!(names(&state), ["a"]);
    fs::create_dir(&path).expect("created");
    write(&path, "b.yaml", &namespace("b", "1"));
    until(&mut states, "back", |s| names(s) == ["b"] && s.status.errors.is_empty()).await;
    replace(&path, "b.yaml", &namespace("b", "2"));
    until(&mut states, "watched", |s| label(s, "b").as_deref() == Some("2")).await;
}

/// A source over a folder with twelve namespaces, whose hold lasts so long; and what confirms it.
fn held(folder: &Path, wait: Duration) -> (States, watch::Sender<u64>) {
    (0..12).for_each(|n| write(folder, &format!("{n}.yaml"), &namespace(&format!("n{n}"), "1")));
    let mut source = FileSource::open("files", folder.to_owned());
    source.hold.wait = wait;
    let (confirm, confirmed) = watch::channel(0);
    (source.watch(confirmed).0, confirm)
}

fn remove(folder: &Path, files: std::ops::Range<usize>) {
    files.for_each(|n| fs::remove_file(folder.join(format!("{n}.yaml"))).expect("removed"));
}

/// Moves the files elsewhere in one step, as an unmounted disk does, and puts an empty folder in their place.
fn unmount(folder: &Path) -> std::path::PathBuf {
    let elsewhere = folder.with_extension("elsewhere");
    fs::rename(folder, &elsewhere).expect("renamed");
    fs::create_dir(folder).expect("created");
    elsewhere
}

/// A folder that is empty all at once keeps its many objects, and says so, until the wait is over.
#[tokio::test]
async fn emptied_is_held() {
    let top = folder();
    let path = top.path().join("m");
    fs::create_dir(&path).expect("created");
    let (mut states, _confirm) = held(&path, Duration::from_secs(2));
    assert_eq!(states.borrow().objects.len(), 12);
    unmount(&path);
    let state = until(&mut states, "held", |state| !state.status.held.is_empty()).await;
    assert_eq!(state.objects.len(), 12);
    assert!(state.status.held[0].contains("12 objects of kind Namespace"), "{:?}", state.status.held);
    let state = until(&mut states, "believed", |state| state.objects.is_empty()).await;
    assert!(state.status.held.is_empty());
}

/// What is held is believed at once when somebody confirms it.
#[tokio::test]
async fn emptied_is_confirmed() {
    let top = folder();
    let path = top.path().join("m");
    fs::create_dir(&path).expect("created");
    let (mut states, confirm) = held(&path, Duration::from_secs(3_600));
    unmount(&path);
    until(&mut states, "held", |state| !state.status.held.is_empty()).await;
    confirm.send_modify(|number| *number += 1);
    let state = until(&mut states, "believed", |state| state.objects.is_empty()).await;
    assert!(state.status.held.is_empty());
}

/// Files that come back one by one each count as they come, and what is still missing stays.
#[tokio::test]
async fn emptied_and_written_anew() {
    let top = folder();
    let path = top.path().join("m");
    fs::create_dir(&path).expect("created");
    let (mut states, _confirm) = held(&path, Duration::from_secs(3_600));
    let elsewhere = unmount(&path);
    until(&mut states, "held", |state| !state.status.held.is_empty()).await;
    replace(&path, "0.yaml", &namespace("n0", "2"));
    let state = until(&mut states, "the first", |state| label(state, "n0").as_deref() == Some("2")).await;
    assert_eq!((state.objects.len(), state.status.held.len()), (12, 1));
    for n in 1..12 {
        let name = format!("{n}.yaml");
        fs::rename(elsewhere.join(&name), path.join(&name)).expect("renamed");
    }
    let state = until(&mut states, "all back", |state| state.status.held.is_empty()).await;
    assert_eq!(state.objects.len(), 12);
}

/// Ordinary deletions pass: some of many, few of few, and a folder that goes with what it holds.
#[tokio::test]
async fn deletions_pass() {
    let top = folder();
    let path = top.path().join("m");
    fs::create_dir(&path).expect("created");
    let (mut states, _confirm) = held(top.path().join("m").as_path(), Duration::from_secs(3_600));
    remove(&path, 0..4);
    until(&mut states, "some gone", |state| state.objects.len() == 8).await;
    remove(&path, 4..12);
    let state = until(&mut states, "all gone", |state| state.objects.is_empty()).await;
    assert!(state.status.held.is_empty());
    fs::create_dir(path.join("sub")).expect("created");
    (0..12).for_each(|n| write(&path.join("sub"), &format!("{n}.yaml"), &namespace(&format!("n{n}"), "1")));
    until(&mut states, "come", |state| state.objects.len() == 12).await;
    fs::rename(path.join("sub"), top.path().join("sub")).expect("renamed");
    let state = until(&mut states, "gone with their folder", |state| state.objects.is_empty()).await;
    assert!(state.status.held.is_empty());
}
