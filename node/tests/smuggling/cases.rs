//! A [`Case`] and the text it is written in. Reads only; what a case means is `judge`'s business.
//!
//! One file for each family. A line starts with what it is:
//!
//! | start | what follows |
//! |---|---|
//! | `#` | a comment |
//! | `=` | a new case: `name \| RFC and section` |
//! | `>` | a line that the client sends; CRLF is added. `>>` sends the bytes as they are |
//! | `~` | the client waits: `final` or `interim` for a response, or so many milliseconds |
//! | `<` | a line that the origin answers with; CRLF is added. `<<` as it is |
//! | `^` | the origin: `early` answers at the end of the head, `close` closes, a number waits so many milliseconds |
//! | `!` | the outcome, see [`Outcome`] |
//! | `?` | a request that the origin must see: its first line |
//! | `:` | a header line of it (or of the response, in a case about the origin); there must be no others |
//! | `"` | its body |
//!
//! Escapes: `\r \n \t \0 \\ \s` (a space that an editor would strip), `\xHH`, and `\{COUNT:TEXT}` for repetition.

/// A case.
#[derive(Clone, Debug)]
pub struct Case {
    /// The file it comes from, or the part of the matrix.
    pub family: String,
    /// Its name; unique in its family.
    pub name: String,
    /// Where the rule stands.
    pub rfc: String,
    /// What the client does.
    pub client: Vec<Step>,
    /// What the origin answers; empty: the usual.
    pub origin: Vec<Act>,
    /// Whether the origin answers once it has the head.
    pub early: bool,
    /// What must come of it.
    pub outcome: Outcome,
}

/// What a client does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Sends bytes.
    Send(Vec<u8>),
    /// Waits for one more final response.
    AwaitFinal,
    /// Waits for an interim response.
    AwaitInterim,
    /// Waits so many milliseconds.
    Pause(u64),
}

/// What an origin does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Sends bytes.
    Send(Vec<u8>),
    /// Waits so many milliseconds.
    Pause(u64),
    /// Closes the connection.
    Close,
}

/// What must come of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `refuse STATUS…`: the gateway answers so and closes; the origin sees nothing.
    Refuse(Vec<u16>),
    /// `cut STATUS…`: the gateway answers so and closes; the origin sees no whole request, and its connection ends.
    Cut(Vec<u16>),
    /// `silent`: no answer, and the origin sees no whole request.
    Silent,
    /// `pass`: the origin sees exactly these requests and the client gets its answers. `pass refuse STATUS…`: what
    /// follows them is refused.
    Pass(Vec<Seen>, Vec<u16>),
    /// `bad`: the answer of the origin is bad: 502, or what was begun is cut; its connection is never used again.
    Bad,
    /// `fine STATUS keep|drop`: the client gets this answer, and the origin's connection is used again or not.
    Fine(u16, bool, Seen),
}

/// A message as one side must see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The request line.
    pub line: Vec<u8>,
    /// Header lines, names in lower case, without those that the gateway adds.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The content.
    pub body: Vec<u8>,
}

impl Case {
    /// A case where the client sends these bytes.
    pub fn new(family: &str, name: String, rfc: &str, bytes: Vec<u8>, outcome: Outcome) -> Case {
        Case {
            family: family.to_owned(),
            name,
            rfc: rfc.to_owned(),
            client: vec![Step::Send(bytes)],
            origin: Vec::new(),
            early: false,
            outcome,
        }
    }

    /// Everything the client sends.
    pub fn sent(&self) -> Vec<u8> {
        let sent = |step: &Step| if let Step::Send(bytes) = step { bytes.clone() } else { Vec::new() };
        self.client.iter().flat_map(sent).collect()
    }
}

/// The cases of one file.
pub fn read(family: &str, text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let fault = |what: &str| -> ! { panic!("{family}.cases:{}: {what}: {line}", number + 1) };
        let (start, rest) = line.split_at(line.len().min(1));
        if let "" | "#" = start {
            continue;
        }
        if start == "=" {
            let Some((name, rfc)) = rest.split_once('|') else { fault("no RFC") };
            cases.push(Case::new(family, name.trim().to_owned(), rfc.trim(), Vec::new(), Outcome::Silent));
            continue;
        }
        let Some(case) = cases.last_mut() else { fault("before the first case") };
        let (raw, rest) = match rest.strip_prefix(start) {
            Some(rest) if start == ">" || start == "<" => (true, rest),
            _ => (false, rest),
        };
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        let mut bytes = unescape(rest);
        if !raw && (start == ">" || start == "<") {
            bytes.extend_from_slice(b"\r\n");
        }
        match start {
            ">" => match case.client.last_mut() {
                Some(Step::Send(sent)) => sent.extend(bytes),
                _ => case.client.push(Step::Send(bytes)),
            },
            "<" => match case.origin.last_mut() {
                Some(Act::Send(sent)) => sent.extend(bytes),
                _ => case.origin.push(Act::Send(bytes)),
            },
            "~" => case.client.push(match rest {
                "final" => Step::AwaitFinal,
                "interim" => Step::AwaitInterim,
                millis => Step::Pause(millis.parse().unwrap_or_else(|_| fault("no wait"))),
            }),
            "^" if rest == "early" => case.early = true,
            "^" if rest == "close" => case.origin.push(Act::Close),
            "^" => case.origin.push(Act::Pause(rest.parse().unwrap_or_else(|_| fault("no act")))),
            "!" => case.outcome = outcome(rest).unwrap_or_else(|| fault("no outcome")),
            "?" => match &mut case.outcome {
                Outcome::Pass(requests, _) => {
                    requests.push(Seen { line: bytes, ..Seen::default() });
                }
                _ => fault("only after `pass`"),
            },
            ":" | "\"" => match &mut case.outcome {
                Outcome::Pass(requests, _) if requests.is_empty() => fault("no request line"),
                Outcome::Pass(requests, _) => note(requests.last_mut(), start, &bytes),
                Outcome::Fine(_, _, seen) => note(Some(seen), start, &bytes),
                _ => fault("only after `pass` and `fine`"),
            },
            _ => fault("unknown start"),
        }
    }
    for case in &mut cases {
        case.client.retain(|step| *step != Step::Send(Vec::new()));
        if case.client.is_empty() {
            case.client.push(Step::Send(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n".to_vec()));
        }
    }
    cases
}

fn note(seen: Option<&mut Seen>, start: &str, bytes: &[u8]) {
    let Some(seen) = seen else { return };
    if start == "\"" {
        return seen.body.extend_from_slice(bytes);
    }
    let colon = bytes.iter().position(|&byte| byte == b':').expect("a header line has a colon");
    let name = String::from_utf8_lossy(&bytes[..colon]).into_owned();
    seen.headers.push((name, bytes[colon + 1..].trim_ascii_start().to_vec()));
}

fn outcome(text: &str) -> Option<Outcome> {
    let mut words = text.split_whitespace();
    let statuses =
        |words: std::str::SplitWhitespace<'_>| words.map(str::parse).collect::<Result<Vec<u16>, _>>().ok();
    Some(match words.next()? {
        "refuse" => Outcome::Refuse(statuses(words)?),
        "cut" => Outcome::Cut(statuses(words)?),
        "silent" => Outcome::Silent,
        "pass" => match words.next() {
            None => Outcome::Pass(Vec::new(), Vec::new()),
            Some("refuse") => Outcome::Pass(Vec::new(), statuses(words)?),
            Some(_) => return None,
        },
        "bad" => Outcome::Bad,
        "fine" => {
            let status = words.next()?.parse().ok()?;
            let keep = match words.next()? {
                "keep" => true,
                "drop" => false,
                _ => return None,
            };
            Outcome::Fine(status, keep, Seen::default())
        }
        _ => return None,
    })
}

/// Bytes of a text with escapes.
pub fn unescape(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let escape = rest.as_bytes().get(at + 1).unwrap_or_else(|| panic!("a lone backslash in {text}"));
        rest = &rest[at + 2..];
        match escape {
            b'r' => bytes.push(b'\r'),
            b'n' => bytes.push(b'\n'),
            b't' => bytes.push(b'\t'),
            b's' => bytes.push(b' '),
            b'0' => bytes.push(0),
            b'\\' => bytes.push(b'\\'),
            b'x' => {
                bytes.push(u8::from_str_radix(&rest[..2], 16).expect("two hexadecimal digits"));
                rest = &rest[2..];
            }
            b'{' => {
                let (count, more) = rest.split_once(':').expect("a colon in a repetition");
                let (part, more) = more.split_once('}').expect("the end of a repetition");
                bytes.extend(unescape(part).repeat(count.parse().expect("a count")));
                rest = more;
            }
            other => panic!("an unknown escape {:?} in {text}", char::from(*other)),
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

/// A case is read as it is written: line ends, escapes, waits, and what must be seen.
#[test]
fn cases_are_read_as_written() {
    let text = "# a comment\n= one | 9112 3\n> A\n>> \\sb\\{2:x\\0}\\x7f\n~ 5\n>> c\n! pass\n? GET / HTTP/1.1\n: x: a\n\" b\n";
    let cases = read("f", text);
    let [case] = cases.as_slice() else { panic!("{cases:?}") };
    assert_eq!(
        case.client,
        [Step::Send(b"A\r\n bx\0x\0\x7f".to_vec()), Step::Pause(5), Step::Send(b"c".to_vec())]
    );
    let seen = Seen {
        line: b"GET / HTTP/1.1".to_vec(),
        headers: vec![("x".into(), b"a".to_vec())],
        body: b"b".to_vec(),
    };
    assert_eq!(case.outcome, Outcome::Pass(vec![seen], Vec::new()));
}
