let shapeMistakes: [MistakeRow] = [
    MistakeRow(
        minimal, "workers = 1",
        "workers = ",
        #"1:11: error: not valid TOML: Error while parsing key-value pair: expected value, saw '\n'"#),
    MistakeRow(
        minimal, "workers = 1",
        "workers = 1\nworkers = 2",
        "2:11: error: not valid TOML: Error while parsing key-value pair: cannot redefine existing integer 'workers'"),
    MistakeRow(
        minimal, "workers = 1",
        "worker = 1",
        #"1:1: error: unknown directive "worker"; did you mean "workers"?"#),
    MistakeRow(
        minimal, "workers = 1",
        #"workers = "1""#,
        #"1:11: error: "workers" must be a whole number from 1 to 256, not "1""#),
    MistakeRow(
        minimal, "workers = 1",
        "workers = 0",
        #"1:11: error: "workers" must be a whole number from 1 to 256, not the number 0"#),
    MistakeRow(
        minimal, "workers = 1",
        "workers = 99999999999999999999",
        "1:31: error: not valid TOML: Error while parsing decimal integer: '99999999999999999999' is not representable in 64 bits"
    ),
    MistakeRow(
        minimal, "workers = 1",
        "workers = 1.5",
        #"1:11: error: "workers" must be a whole number from 1 to 256, not the number 1.5"#),
    MistakeRow(
        minimal, "workers = 1",
        "workers = 1979-05-27",
        #"1:11: error: "workers" must be a whole number from 1 to 256, not a date"#),
    MistakeRow(
        minimal, "workers = 1",
        "listener = 1",
        "3:1: error: not valid TOML: Error while parsing table header: cannot redefine existing integer 'listener.internal' as table"
    ),
    MistakeRow(
        minimal, "[listener.internal]",
        "[listeners.internal]",
        "1:1: error: there is no [listener.NAME]: callers could not connect",
        #"2:2: error: unknown table "listeners"; did you mean "listener"?"#),
    MistakeRow(
        minimal, "[listener.internal]",
        "[listener]",
        "1:1: error: there is no [listener.NAME]: callers could not connect",
        #"3:1: error: "address" stands in [listener], which needs a name: write [listener.NAME]"#),
    MistakeRow(
        minimal, "[listener.internal]",
        #"[listener."a b"]"#,
        "1:1: error: there is no [listener.NAME]: callers could not connect",
        #"2:11: error: "a b" cannot be a name: use letters, digits, "-" and "_", at most 64"#),
    MistakeRow(
        minimal, "[listener.internal]",
        "[[listener]]",
        "1:1: error: there is no [listener.NAME]: callers could not connect",
        #"2:1: error: "listener" must be a table, not a list"#),
    MistakeRow(
        minimal, "workers = 1",
        #"[log]\#nlevel = "loud"\#nformat = "jason"\#naccess = "here""#,
        #"2:9: error: "level" must be "error", "warning", "notice", "info", "debug" or "trace", not "loud""#,
        #"3:10: error: "format" must be "auto", "json" or "text", not "jason"; did you mean "json"?"#,
        #"4:10: error: "access" must be "off", "stdout", "stderr" or an absolute path, not "here""#),
    MistakeRow(
        minimal, "workers = 1",
        #"log = "x""#,
        #"1:7: error: "log" must be a table, not "x""#),
    MistakeRow(
        minimal, #"upstream = "api""#,
        #"upstream = "api"\#nca_file = "/k/ca.pem""#,
        #"12:1: error: unknown directive "ca_file" in [route.all]; it belongs in [store] or [provider.NAME] or [upstream.NAME]"#
    ),
    MistakeRow(
        minimal, #"upstream = "api""#,
        #"upstream = "api"\#nmetods = ["GET"]"#,
        #"12:1: error: unknown directive "metods" in [route.all]; did you mean "methods"?"#),
    MistakeRow(
        minimal, #"upstream = "api""#,
        "",
        #"9:1: error: [route.all] needs "upstream""#),
    MistakeRow(
        minimal, #"upstream = "api""#,
        #"upstream = """#,
        #"11:12: error: "upstream" must not be empty"#),
    MistakeRow(
        minimal, #"upstream = "api""#,
        #"upstream = "ap""#,
        #"11:12: error: there is no [upstream.ap]; did you mean "api"?"#),
    MistakeRow(
        minimal, #"upstream = "api""#,
        #"upstream = "a\nb""#,
        #"11:12: error: "upstream" must not hold control characters such as line breaks"#),
    MistakeRow(
        minimal, #"grant = "fixed""#,
        #"grant = "fixt""#,
        #"12:9: error: there is no [grant.fixt]; did you mean "fixed"?"#),
    MistakeRow(
        minimal, #"grant = "fixed""#,
        #"grant = "${NOBODY}""#,
        "12:10: error: the environment variable NOBODY is not set"),
    MistakeRow(
        minimal, #"grant = "fixed""#,
        #"grant = "${1}""#,
        #"12:10: error: "${" must be followed by the name of an environment variable and "}"; write "$${" for the text "${""#
    ),
    MistakeRow(
        minimal, #"grant = "fixed""#,
        #"grant = "a${""#,
        #"12:11: error: "${" must be followed by the name of an environment variable and "}"; write "$${" for the text "${""#
    ),
]
