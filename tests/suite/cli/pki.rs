//! Certificates with real processes: `herd pki`, `herd check`, servers that authenticate each other, openssl as a
//! client, and SIGHUP.

use crate::support::process::{Ended, Herd, Out, Process, until};
use rustix::process::Signal;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::thread;
use std::time::Instant;

const PAIR: &[(&str, &[&str])] = &[("Alford", &["Bolden"]), ("Bolden", &[])];
const FIVE: &[(&str, &[&str])] = &[
    ("Alford", &["Parker", "Welsh"]),
    ("Bolden", &["Parker", "Welsh"]),
    ("Hamilton", &["Parker"]),
    ("Parker", &[]),
    ("Welsh", &[]),
];

/// Returns a herd with `[peer_tls]`, and certificates of all its servers.
fn sealed(test: &str, servers: &[(&str, &[&str])]) -> Herd {
    let herd = Herd::new(test, servers);
    herd.write(&format!("{}[peer_tls]\nfolder = \"pki\"\n", herd.text()));
    done(&herd, &["pki", "init"]);
    let names: Vec<&str> = servers.iter().map(|(name, _)| *name).collect();
    done(&herd, &[&["pki", "issue"], &names[..]].concat());
    herd
}

fn done(herd: &Herd, args: &[&str]) -> String {
    let Ended { code, stdout, stderr } = herd.run(args);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{args:?}");
    stdout
}

fn file(herd: &Herd, name: &str) -> PathBuf {
    herd.folder().join("pki").join(name)
}

/// Returns the logs of a server.
fn log(herd: &Herd, name: &str) -> String {
    let files = fs::read_dir(herd.folder().join("log")).into_iter().flatten().flatten();
    let paths = files.map(|file| file.path());
    let ours = |path: &PathBuf| {
        path.file_name().unwrap_or_default().to_string_lossy().starts_with(&format!("{name}-"))
    };
    paths.filter(ours).map(|path| fs::read_to_string(path).unwrap_or_default()).collect()
}

fn logged(herd: &Herd, name: &str, part: &str) -> String {
    until(&format!("{name} logs {part:?}"), || {
        log(herd, name).lines().find(|line| line.contains(part)).map(str::to_owned)
    })
}

fn linked_times(herd: &Herd, name: &str, other: &str) -> usize {
    log(herd, name).matches(&format!("linked to {other}")).count()
}

#[test]
fn files_of_pki_are_readable_only_by_their_owner_and_are_not_overwritten() {
    let herd = sealed("pki-files", PAIR);
    let names = ["ca.pem", "ca.key", "Alford.pem", "Alford.key", "Bolden.pem", "Bolden.key"];
    let before = names.map(|name| fs::read(file(&herd, name)).unwrap());
    for name in names {
        let mode = fs::metadata(file(&herd, name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let folder = fs::metadata(herd.folder().join("pki")).unwrap().permissions().mode();
    assert_eq!(folder & 0o777, 0o700);
    for args in [&["pki", "init"][..], &["pki", "issue", "Alford"]] {
        let ended = herd.run(args);
        assert_eq!(ended.code, Some(73), "{args:?}");
        assert!(ended.stderr.contains("is not overwritten"), "{}", ended.stderr);
    }
    // If one file exists, none of the others is written either.
    fs::remove_file(file(&herd, "Bolden.pem")).unwrap();
    assert_eq!(herd.run(&["pki", "issue", "Bolden", "Alford"]).code, Some(73));
    assert!(!file(&herd, "Bolden.pem").exists());
    fs::write(file(&herd, "Bolden.pem"), &before[4]).unwrap();
    assert_eq!(names.map(|name| fs::read(file(&herd, name)).unwrap()), before);
    assert_eq!(herd.run(&["pki", "issue", "Wilkes"]).code, Some(64));
    assert_eq!(herd.run(&["pki", "revoke", "Wilkes"]).code, Some(78));
}

#[test]
fn openssl_reads_what_pki_makes() {
    let herd = sealed("pki-openssl", PAIR);
    // A process that was killed while it wrote leaves such a file.
    fs::write(file(&herd, "revoked.crl.new"), "half a list").unwrap();
    done(&herd, &["pki", "revoke", "Bolden"]);
    let path = |name: &str| file(&herd, name).to_string_lossy().into_owned();
    let (ca, alford) = (path("ca.pem"), path("Alford.pem"));
    let said = Process::shell(&format!(
        "openssl verify -x509_strict -CAfile {ca} {alford} && \
         openssl x509 -in {alford} -noout -ext subjectAltName,extendedKeyUsage && \
         openssl ec -in {} -noout -text 2>/dev/null | grep -i p-256; \
         openssl crl -in {} -CAfile {ca} -noout -text 2>&1",
        path("Alford.key"),
        path("revoked.crl")
    ));
    for part in [
        "Alford.pem: OK",
        "DNS:Alford.test",
        "TLS Web Server Authentication, TLS Web Client Authentication",
        "P-256",
        "verify OK",
        "Serial Number",
    ] {
        assert!(said.stdout.contains(part), "{part}: {said:?}");
    }
}

#[test]
fn a_certificate_of_another_authority_is_not_put_on_a_list_that_cannot_revoke_it() {
    let (herd, other) = (sealed("pki-list", PAIR), sealed("pki-list-other", PAIR));
    fs::copy(file(&other, "Alford.pem"), file(&herd, "Alford.pem")).unwrap();
    let ended = herd.run(&["pki", "revoke", "Alford"]);
    assert_eq!(ended.code, Some(78), "{ended:?}");
    assert!(ended.stderr.contains("from an authority other than"), "{}", ended.stderr);
    assert!(!file(&herd, "revoked.crl").exists() && file(&herd, "Alford.pem").exists());
}

#[test]
fn check_reads_the_certificates_and_prints_how_long_they_are_valid() {
    let herd = sealed("pki-check", PAIR);
    let checked = herd.run(&["check"]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    assert!(checked.stdout.contains("Alford: 365 days left, its authority 3650\n"), "{checked:?}");
    // The warning is that only one of the two servers lists the other.
    assert!(checked.stdout.ends_with(" no faults, 1 warning\n"), "{checked:?}");
    // It warns a month before a certificate expires.
    for name in ["Alford.pem", "Alford.key"] {
        fs::remove_file(file(&herd, name)).unwrap();
    }
    done(&herd, &["pki", "issue", "--days", "29", "Alford"]);
    fs::set_permissions(file(&herd, "Alford.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let checked = herd.run(&["check"]);
    assert_eq!(checked.code, Some(0));
    for part in
        ["Alford.pem: 29 days left", "other users may open this key (mode 0644)", "chmod 600 it"]
    {
        assert!(checked.stderr.contains(part), "{}", checked.stderr);
    }
    assert_eq!(herd.run(&["check", "--strict"]).code, Some(78));
    // Faults have a place in the topology, and keep a server from starting.
    fs::write(file(&herd, "Bolden.key"), "nothing").unwrap();
    for args in [&["check"][..], &["serve", "Bolden"]] {
        let ended = herd.run(args);
        assert_eq!(ended.code, Some(78), "{args:?}");
        let place = format!("{}:", herd.topology());
        assert!(ended.stderr.contains(&place) && ended.stderr.contains("Bolden.key"), "{ended:?}");
        assert!(ended.stderr.contains("= remedy: "), "{}", ended.stderr);
    }
    fs::remove_dir_all(herd.folder().join("pki")).unwrap();
    let ended = herd.run(&["check"]);
    assert_eq!(ended.code, Some(78));
    assert!(ended.stderr.contains("herd pki init"), "{}", ended.stderr);
}

#[test]
fn a_peer_port_beyond_the_loopback_needs_certificates_or_insecure_peers() {
    let herd = Herd::new("pki-open", PAIR);
    let ip = herd.ip().to_string();
    let open = herd.text().replace(&format!("peer = \"{ip}:12100\""), "peer = \"10.0.0.1:12100\"");
    herd.write(&open);
    for args in [&["serve", "Alford"][..], &["check"]] {
        let ended = herd.run(args);
        assert_eq!(ended.code, Some(78), "{args:?}");
        for part in ["[peer_tls]", "insecure_peers = true"] {
            assert!(ended.stderr.contains(part), "{}", ended.stderr);
        }
    }
    herd.write(&format!("insecure_peers = true\n{open}"));
    assert_eq!(herd.run(&["check"]).code, Some(0));
}

#[test]
fn pki_refuses_the_names_that_a_topology_with_peer_tls_refuses() {
    for (name, what) in [
        ("-x", "is not a DNS name"),
        ("x-", "is not a DNS name"),
        ("ALFORD", "are one name in DNS"),
    ] {
        let herd = Herd::new("pki-names", &[("Alford", &[name]), (name, &[])]);
        for args in [&["pki", "init"][..], &["pki", "issue", "--", name]] {
            let ended = herd.run(args);
            assert_eq!(ended.code, Some(78), "{ended:?}");
            assert!(
                ended.stderr.contains(":8: error: ") && ended.stderr.contains(what),
                "{ended:?}"
            );
        }
        assert!(!herd.folder().join("pki").exists(), "nothing was made for {name}");
        herd.write(&format!("{}[peer_tls]\n", herd.text()));
        assert!(herd.run(&["check"]).stderr.contains(what), "{name}");
    }
}

#[test]
fn pki_works_before_the_topology_has_the_table() {
    let herd = Herd::new("pki-first", PAIR);
    let ip = herd.ip().to_string();
    let open = herd.text().replace(&format!("peer = \"{ip}:12100\""), "peer = \"10.0.0.1:12100\"");
    herd.write(&open);
    done(&herd, &["pki", "init"]);
    done(&herd, &["pki", "issue", "Alford", "Bolden", "Alford"]);
    herd.write(&format!("{open}[peer_tls]\n"));
    assert_eq!(herd.run(&["check"]).code, Some(0));
}

#[test]
fn the_folder_of_certificates_may_begin_with_a_dash() {
    let herd = Herd::new("dashed", &[("Alford", &[])]);
    for args in ["pki init --folder -p", "pki issue Alford --folder -p --days 9"] {
        let args: Vec<&str> = args.split(' ').collect();
        let ended = herd.start_unheard(&args, Out::Fine, Out::Fine).code();
        assert_eq!(ended, Some(0), "{args:?}");
    }
    assert!(herd.folder().join("-p/Alford.pem").is_file());
}

/// The serial number in a certificate, as openssl prints it.
fn serial(herd: &Herd, name: &str) -> String {
    let path = file(herd, name);
    let line = format!("openssl x509 -in {} -noout -serial", path.display());
    Process::shell(&line).stdout
}

#[test]
fn renew_replaces_certificates_and_keys_and_keeps_the_old_pairs() {
    let herd = sealed("pki-renew", PAIR);
    let names = ["Alford.pem", "Alford.key", "Bolden.pem", "Bolden.key", "ca.pem", "ca.key"];
    let contents = || names.map(|name| fs::read(file(&herd, name)).unwrap());
    let before = contents();
    let said = done(&herd, &["pki", "renew", "--days", "90", "Alford"]);
    assert!(said.contains("Alford.pem: Alford.test, valid for 90 days; its key is "), "{said}");
    let now = contents();
    for (number, name) in names.iter().enumerate() {
        assert_eq!(now[number] == before[number], number > 1, "{name}");
    }
    // Each file with a key is readable only by its owner, and the pair before is kept.
    let all: Vec<String> = fs::read_dir(herd.folder().join("pki"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let old = |end: &str| -> PathBuf {
        let mut found =
            all.iter().filter(|name| name.starts_with("Alford-") && name.ends_with(end));
        file(&herd, found.next().unwrap_or_else(|| panic!("{end}: {all:?}")))
    };
    for (end, number) in [(".old.pem", 0), (".old.key", 1)] {
        assert_eq!(fs::read(old(end)).unwrap(), before[number]);
        assert_eq!(fs::metadata(old(end)).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(
        fs::metadata(file(&herd, "Alford.key")).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(!all.iter().any(|name| name.ends_with(".new")), "{all:?}");
    assert!(herd.run(&["check"]).stdout.contains("Alford: 90 days left"));
    // Without a name it renews every certificate in the folder.
    let serials = ["Alford.pem", "Bolden.pem"].map(|name| serial(&herd, name));
    done(&herd, &["pki", "renew"]);
    assert!(["Alford.pem", "Bolden.pem"].map(|name| serial(&herd, name)) != serials);
    assert_ne!(serial(&herd, "Bolden.pem"), serials[1]);
    assert_eq!(herd.run(&["check"]).code, Some(0));
}

#[test]
fn a_clients_certificate_is_made_and_renewed_for_an_id_that_can_be_reported() {
    let herd = sealed("pki-client", &PAIR[1..]);
    for id in ["a b", "", "a\tb"] {
        let ended = herd.run(&["pki", "issue", "--client", id]);
        assert!(ended.code == Some(78) && ended.stderr.contains("--client"), "{ended:?}");
    }
    let ended = herd.run(&["pki", "renew", "--client", "jane/phone"]);
    assert!(ended.code == Some(78), "there is nothing to renew: {ended:?}");
    done(&herd, &["pki", "issue", "--client", "jane/phone"]);
    let pair = || {
        ["client-jane%2Fphone.pem", "client-jane%2Fphone.key"]
            .map(|name| fs::read(file(&herd, name)).unwrap())
    };
    let (before, server) = (pair(), fs::read(file(&herd, "Bolden.pem")).unwrap());
    let said = done(&herd, &["pki", "renew", "--client", "jane/phone", "--days", "90"]);
    let old = said.split("the one before is ").nth(1).and_then(|it| it.lines().next());
    let old = PathBuf::from(old.unwrap_or_else(|| panic!("{said}")));
    assert!(said.contains("valid for 90 days"), "{said}");
    assert!(pair() != before && pair()[0] != before[0] && pair()[1] != before[1]);
    assert_eq!(fs::read(&old).unwrap(), before[0]);
    assert_eq!(fs::read(old.with_extension("key")).unwrap(), before[1]);
    assert_eq!(fs::read(file(&herd, "Bolden.pem")).unwrap(), server, "only the client's");
    done(&herd, &["pki", "revoke", "client-jane%2Fphone"]);
}

#[test]
fn renew_changes_nothing_if_one_certificate_cannot_be_made() {
    let herd = sealed("pki-renew-not", PAIR);
    let before = ["Alford.pem", "Alford.key"].map(|name| fs::read(file(&herd, name)).unwrap());
    fs::remove_file(file(&herd, "Bolden.pem")).unwrap();
    let ended = herd.run(&["pki", "renew", "Alford", "Bolden"]);
    assert_eq!(ended.code, Some(78), "{ended:?}");
    assert!(ended.stderr.contains("Bolden.pem: No such file"), "{ended:?}");
    // With the key of another authority.
    let other = sealed("pki-renew-other", PAIR);
    fs::copy(file(&other, "ca.key"), file(&herd, "ca.key")).unwrap();
    let ended = herd.run(&["pki", "renew"]);
    assert_eq!(ended.code, Some(78), "{ended:?}");
    let after = ["Alford.pem", "Alford.key"].map(|name| fs::read(file(&herd, name)).unwrap());
    assert_eq!(before, after);
    fs::remove_file(file(&herd, "Alford.pem")).unwrap();
    assert_eq!(herd.run(&["pki", "renew"]).code, Some(78), "there is nothing to renew");
}

#[test]
fn a_pair_whose_renewal_was_interrupted_can_be_used_and_renewed() {
    let herd = sealed("pki-renew-half", PAIR);
    let read = |name: &str| fs::read_to_string(file(&herd, name)).unwrap();
    let (old_certificate, old_key) = (read("Alford.pem"), read("Alford.key"));
    done(&herd, &["pki", "renew", "Alford"]);
    let (new_certificate, new_key) = (read("Alford.pem"), read("Alford.key"));
    let both = format!("{new_key}{old_key}");
    // The states of the folder between the steps.
    for (certificate, key) in [
        (&old_certificate, &old_key),
        (&old_certificate, &both),
        (&new_certificate, &both),
        (&new_certificate, &new_key),
    ] {
        fs::write(file(&herd, "Alford.pem"), certificate).unwrap();
        fs::write(file(&herd, "Alford.key"), key).unwrap();
        fs::write(file(&herd, "Alford.pem.new"), "half").unwrap();
        let checked = herd.run(&["check"]);
        assert_eq!(checked.code, Some(0), "{checked:?}");
        done(&herd, &["pki", "renew", "Alford"]);
        assert_eq!(herd.run(&["check"]).code, Some(0));
        assert_eq!(read("Alford.key").matches("BEGIN").count(), 1);
    }
    // Two keys, of which neither fits.
    fs::write(file(&herd, "Alford.key"), format!("{}{}", read("Bolden.key"), read("ca.key")))
        .unwrap();
    let checked = herd.run(&["check"]);
    assert!(checked.stderr.contains("is not the key of"), "{checked:?}");
}

#[test]
fn a_renewed_certificate_is_used_after_sighup_and_no_link_is_lost() {
    let herd = sealed("pki-renew-hup", PAIR);
    let servers = ["Alford", "Bolden"].map(|name| herd.serve(name));
    logged(&herd, "Alford", "linked to Bolden");
    done(&herd, &["pki", "renew", "--days", "77"]);
    for (server, name) in servers.iter().zip(["Alford", "Bolden"]) {
        server.signal(Signal::HUP);
        logged(&herd, name, "reloaded the certificates; the server's is valid for 77 days more");
    }
    let told = herd.run(&["client", "Alford", "iamat", "kiwi", "-48.9-123.4"]);
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    until("Bolden knows of kiwi", || {
        let asked = herd.run(&["client", "Bolden", "whatsat", "kiwi", "1", "1"]);
        (asked.code == Some(0)).then_some(())
    });
    assert_eq!(linked_times(&herd, "Alford", "Bolden"), 1);
    // The operator sees whether the new files have arrived.
    done(&herd, &["pki", "renew", "--days", "66", "Alford"]);
    let said = done(&herd, &["reload"]);
    assert!(said.contains("Alford: reloaded: certificates replaced, 66 days left\n"), "{said}");
    assert!(said.contains("Bolden: reloaded: nothing has changed\n"), "{said}");
    done(&herd, &["pki", "revoke", "Bolden"]);
    assert!(done(&herd, &["reload", "Alford"]).contains(": certificates replaced, 66 days left\n"));
}

#[test]
fn an_authority_s_certificate_and_an_encrypted_key_are_reported_as_such() {
    let herd = sealed("pki-own", PAIR);
    for (from, to) in [("ca.pem", "Alford.pem"), ("ca.key", "Alford.key")] {
        fs::copy(file(&herd, from), file(&herd, to)).expect("the folder is ours");
    }
    let Ended { code, stderr, .. } = herd.run(&["check"]);
    assert_eq!(code, Some(78), "{stderr}");
    assert!(stderr.contains("Alford.pem is a CA certificate (CA:TRUE)"), "{stderr}");
    let encrypted = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,2D\n\n\
                     MAA=\n-----END EC PRIVATE KEY-----\n";
    for key in ["Alford.key", "ca.key"] {
        fs::write(file(&herd, key), encrypted).expect("the folder is ours");
    }
    fs::remove_file(file(&herd, "Bolden.pem"))
        .and_then(|()| fs::remove_file(file(&herd, "Bolden.key")))
        .expect("they are there");
    for (args, key) in [(&["check"][..], "Alford.key"), (&["pki", "issue", "Bolden"], "ca.key")] {
        let Ended { code, stderr, .. } = herd.run(args);
        assert_eq!(code, Some(78), "{stderr}");
        assert!(
            stderr.contains("it is encrypted") && stderr.contains("openssl pkey -in"),
            "{stderr}"
        );
        assert!(stderr.contains(key), "{stderr}");
    }
}

#[test]
fn five_servers_with_tls_replicate_and_serve_their_clients() {
    let herd = sealed("pki-five", FIVE);
    let servers: Vec<Process> = FIVE.iter().map(|(name, _)| herd.serve(name)).collect();
    for (name, _) in FIVE {
        let told = herd.run(&["client", name, "iamat", &format!("at-{name}"), "-48.9-123.4"]);
        assert_eq!(told.code, Some(0), "{}", told.stderr);
    }
    for (name, _) in FIVE {
        for (at, _) in FIVE {
            until(&format!("{name} knows of {at}"), || {
                let asked = herd.run(&["client", name, "whatsat", &format!("at-{at}"), "1", "1"]);
                (asked.code == Some(0)).then_some(())
            });
        }
    }
    for server in servers {
        server.signal(Signal::TERM);
        assert_eq!(server_end(server), Some(0));
    }
}

fn server_end(mut server: Process) -> Option<i32> {
    server.end().code
}

#[test]
fn an_authority_in_der_is_one_fault_and_a_new_authority_is_its_last_remedy() {
    let herd = sealed("pki-der", PAIR);
    fs::write(file(&herd, "ca.pem"), b"\x30\x82\x01\x01\x30\x03").expect("the folder is ours");
    let Ended { code, stderr, .. } = herd.run(&["check"]);
    assert_eq!(code, Some(78), "{stderr}");
    assert_eq!(
        stderr.matches("it is in DER; convert it: openssl x509 -inform DER").count(),
        1,
        "{stderr}"
    );
    assert!(stderr.contains(": 1 fault"), "{stderr}");
    assert!(stderr.contains("only if the herd has none yet, run: herd pki init"), "{stderr}");
}

#[test]
fn a_stranger_with_openssl_is_refused_by_a_real_server_and_a_neighbour_is_not() {
    let herd = sealed("pki-s-client", PAIR);
    // This is another authority, of the same name.
    let other = sealed("pki-s-client-other", PAIR);
    let _bolden = herd.serve("Bolden");
    let port = format!("{}:12101", herd.ip());
    let path = |name: &str| file(&herd, name).to_string_lossy().into_owned();
    let others = |name: &str| file(&other, name).to_string_lossy().into_owned();
    let (ca, own) = (path("ca.pem"), herd.folder().join("self"));
    let own = own.to_string_lossy();
    let say = |options: &str| {
        let hello = "printf 'HELLO Alford test 1\\n'";
        Process::shell(&format!(
            "{hello} | timeout 20 openssl s_client -connect {port} -CAfile {ca} -verify_quiet \
             -ign_eof -quiet {options} 2>&1"
        ))
    };
    let made = Process::shell(&format!(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9 -subj /CN=x \
         -addext subjectAltName=DNS:Alford.test -addext extendedKeyUsage=serverAuth,clientAuth \
         -keyout {own}.key -out {own}.pem 2>&1"
    ));
    assert_eq!(made.code, Some(0), "{made:?}");
    for (options, logs) in [
        (String::new(), "it presented no certificate"),
        (format!("-cert {own}.pem -key {own}.key"), "it is a CA certificate (CA:TRUE)"),
        (
            format!("-tls1_2 -cert {} -key {}", path("Alford.pem"), path("Alford.key")),
            "incompatible",
        ),
        (
            format!("-cert {} -key {}", path("Bolden.pem"), path("Bolden.key")),
            "names this server itself",
        ),
        (
            format!("-cert {} -key {}", others("Alford.pem"), others("Alford.key")),
            "invalid peer certificate: UnknownIssuer",
        ),
    ] {
        let said = say(&options);
        assert!(!said.stdout.contains("HELLO Bolden"), "{options}: {said:?}");
        logged(&herd, "Bolden", logs);
    }
    // A line without TLS makes one line in the log.
    let mut plain = TcpStream::connect(&port).unwrap();
    plain.write_all(b"HELLO Alford test 1\n").unwrap();
    logged(&herd, "Bolden", "it does not speak TLS");
    assert_eq!(linked_times(&herd, "Bolden", "Alford"), 0);
    // A valid certificate is accepted, and gets HELLO.
    let alford = herd.serve("Alford");
    logged(&herd, "Bolden", "linked to Alford");
    drop(alford);
}

#[test]
fn a_revoked_server_is_disconnected_at_sighup_and_accepted_with_a_new_certificate() {
    let herd = sealed("pki-revoke", FIVE);
    let [alford, parker] = ["Alford", "Parker"].map(|name| herd.serve(name));
    logged(&herd, "Parker", "linked to Alford");
    let listed = done(&herd, &["pki", "revoke", "Alford"]);
    assert!(listed.contains("revoked.crl: 1 certificate revoked"), "{listed}");
    assert!(!file(&herd, "Alford.pem").exists() && !file(&herd, "Alford.key").exists());
    // The list grows.
    assert!(done(&herd, &["pki", "revoke", "Welsh"]).contains("2 certificates revoked"));
    parker.signal(Signal::HUP);
    logged(&herd, "Parker", "Alford: its certificate is no longer valid: CertRevoked");
    logged(&herd, "Parker", "invalid peer certificate: Revoked");
    assert_eq!(linked_times(&herd, "Parker", "Alford"), 1);
    // At its own SIGHUP the revoked server finds no certificate, and keeps the old one.
    alford.signal(Signal::HUP);
    logged(&herd, "Alford", "SIGHUP: refused, nothing has changed: ");
    done(&herd, &["pki", "issue", "Alford"]);
    alford.signal(Signal::HUP);
    logged(&herd, "Alford", "SIGHUP: reloaded: certificates replaced, ");
    until("they are linked anew", || (linked_times(&herd, "Parker", "Alford") == 2).then_some(()));
    // A key that other users may read causes a warning, and works.
    fs::set_permissions(file(&herd, "Alford.key"), fs::Permissions::from_mode(0o640)).unwrap();
    alford.signal(Signal::HUP);
    logged(&herd, "Alford", "other users may open this key (mode 0640)");
}

/// Run by hand: `cargo test --release --test suite cli::pki::what_ -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, not a promise"]
fn what_tls_costs_the_flood() {
    const LINES: usize = 300_000;
    for round in 0..3 {
        for is_sealed in [false, true] {
            let test = format!("pki-cost-{round}-{is_sealed}");
            let herd = if is_sealed { sealed(&test, PAIR) } else { Herd::new(&test, PAIR) };
            let _servers = [herd.serve("Alford"), herd.serve("Bolden")];
            logged(&herd, "Alford", "linked to Bolden");
            let mut client = TcpStream::connect(format!("{}:12000", herd.ip())).unwrap();
            let mut replies = client.try_clone().unwrap();
            let begun = Instant::now();
            let reader = thread::spawn(move || {
                let mut count = 0;
                let mut buffer = vec![0; 1 << 20];
                while let Ok(read @ 1..) = replies.read(&mut buffer) {
                    count += buffer[..read].iter().filter(|byte| **byte == b'\n').count();
                }
                count
            });
            let lines: String =
                (0..LINES).map(|n| format!("IAMAT c{} -48.9-123.4 {n}\n", n % 1_000)).collect();
            client.write_all(lines.as_bytes()).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(reader.join().unwrap(), LINES);
            let mut other = TcpStream::connect(format!("{}:12001", herd.ip())).unwrap();
            until("the last line is known", || {
                other.write_all(b"WHATSAT c999 0.001 1\n").unwrap();
                let mut heard = Vec::new();
                let mut buffer = [0; 4_096];
                while !heard.ends_with(b"\n\n") && !heard.starts_with(b"?") {
                    let read = other.read(&mut buffer).unwrap();
                    heard.extend_from_slice(&buffer[..read]);
                }
                let line = String::from_utf8_lossy(&heard).into_owned();
                line.lines().next()?.ends_with(&format!(" {}", LINES - 1)).then_some(())
            });
            let rate = LINES as f64 / begun.elapsed().as_secs_f64();
            println!("round {round}, sealed {is_sealed}: {rate:.0} reports a second");
        }
    }
}
