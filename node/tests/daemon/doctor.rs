//! What `tidegate doctor` and `tidegate manifest` print.

use crate::place::Place;

/// Without capabilities the doctor names each one that is missing and what it costs, tries what it may, and fails; it needs no
/// daemon, and leaves nothing behind.
#[test]
fn the_doctor_names_what_is_missing() {
    let place = Place::new();
    let answer = place.tidegate(&["doctor"]);
    answer.exits(1);
    let line = |about: &str| {
        let line = answer.out.lines().find(|line| line.contains(about));
        line.unwrap_or_else(|| panic!("no line of {about} in:\n{}", answer.out))
    };
    assert!(line("CAP_NET_ADMIN").starts_with("MISSING") && line("CAP_NET_ADMIN").contains("run as root"));
    assert!(line("nftables").starts_with("unknown") || line("nftables").starts_with("MISSING"));
    assert!(line("descriptors").contains(char::is_numeric));
    assert!(line("Linux ").starts_with("ok"), "{}", line("Linux "));
    assert!(answer.out.ends_with("things are missing\n"), "{}", answer.out);
}

/// Documents for `kubectl apply`, definitions first.
#[test]
fn manifests_are_printed() {
    let place = Place::new();
    for (which, last) in [("gateway", "kind: RoleBinding"), ("node", "kind: DaemonSet")] {
        let answer = place.tidegate(&["manifest", which]);
        answer.exits(0);
        let place_of = |text: &str| answer.out.find(text).unwrap_or_else(|| panic!("{which}: no {text}"));
        assert!(place_of("kind: CustomResourceDefinition") < place_of(last), "{which}");
    }
}
