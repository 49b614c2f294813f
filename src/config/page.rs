//! docs/configuration.md, written from [`KEYS`].
//!
//! In: the table of keys. Out: Markdown. `herd config` prints it, and a test compares the page with it. So the page can
//! neither lack a key nor show a default that is not the program's.

use super::keys::{DefaultValue, KEYS, Key, Reload, TOP, ValueType, keys_of, range_in_words};

const INTRO: &str = r#"# Configuration

`herd config` writes this page from the table of keys in `src/config/keys.rs`; do not edit it by hand.

All servers of a herd read the same file, `topology.toml`. `herd check` reports all its errors and warnings at once, each
with line, column and remedy, and starts nothing. The smallest file that works has five lines:

```toml
herd = "mine"
[[server]]
name = "Alford"
client = "127.0.0.1:12000"
peer = "127.0.0.1:12100"
```

A key that is left out has its default. For a key without a default, the table shows an example in parentheses. Paths are
relative to the folder of the file. Numbers are whole, and may be written with underscores. The name of a key ends with the
unit of its number. When a limit rejects, drops or closes something, the log names the key and its value, and
`herd status --json` counts it under `limit_hits`.

`herd reload`, or SIGHUP (`kill -HUP PID`), makes a running server read this file again, and all files that it names. If any of
them has a fault, nothing changes. Keys that change while the server runs have a `yes`; a lower limit applies to new
connections only, where it belongs to a connection. The server keeps the old value of any other key until it is restarted, and
says so: in its log, in `herd status --json` (`restart_pending`) and in the output of `herd reload`. A key with `of neighbours`
changes for a neighbour, but not for the server itself.
"#;

/// The page, in Markdown.
pub fn page() -> String {
    let top = section("At the top of the file", TOP, "Settings of the whole herd.");
    let tables =
        keys_of(TOP).filter(|key| matches!(key.kind, ValueType::Table | ValueType::Tables));
    let tables = tables.map(|table| {
        let name = if matches!(table.kind, ValueType::Tables) {
            format!("[[{}]]", table.name)
        } else {
            format!("[{}]", table.name)
        };
        section(&format!("`{name}`"), &name, table.help)
    });
    std::iter::once(INTRO.to_owned()).chain([top]).chain(tables).collect()
}

fn section(title: &str, name: &str, help: &str) -> String {
    let head = "| key | type | unit | values | default | reload | meaning |\n\
                |---|---|---|---|---|---|---|\n";
    let is_row = |key: &&Key| !matches!(key.kind, ValueType::Table | ValueType::Tables);
    let rows: String =
        KEYS.iter().filter(|key| key.section == name).filter(is_row).map(row).collect();
    format!("\n## {title}\n\n{help}\n\n{head}{rows}")
}

fn row(key: &Key) -> String {
    let quoted = |text: &str| format!("`\"{text}\"`");
    let (kind, unit, values) = match &key.kind {
        ValueType::Text => ("text", "", String::new()),
        ValueType::Name => ("text", "", "1 to 64 of A-Z a-z 0-9 . _ -".to_owned()),
        ValueType::Address => ("text", "", "IP:port or localhost:port".to_owned()),
        ValueType::Host => ("text", "", "IP:port or host:port".to_owned()),
        ValueType::Texts(what) => ("list of texts", "", (*what).to_owned()),
        ValueType::Flag => ("flag", "", "true, false".to_owned()),
        ValueType::Choice(words) => {
            ("text", "", words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(", "))
        }
        ValueType::Number(unit, range) => ("number", *unit, range_in_words(range)),
        ValueType::Table | ValueType::Tables => ("table", "", String::new()),
    };
    let shown = |text: &str| match &key.kind {
        ValueType::Number(..) | ValueType::Flag => format!("`{text}`"),
        ValueType::Texts(_) => format!("`[{text}]`"),
        _ => quoted(text),
    };
    let default = match key.default {
        DefaultValue::Is(text) => shown(text),
        DefaultValue::Unset(text) => format!("none (example: {})", shown(text)),
        DefaultValue::Required(text) => format!("required (example: {})", shown(text)),
    };
    let reload = match key.reload {
        Reload::Live => "yes",
        Reload::OfNeighbours => "of neighbours",
        Reload::Restart => "no",
    };
    format!(
        "| `{}` | {kind} | {unit} | {values} | {default} | {reload} | {} |\n",
        key.name, key.help
    )
}
