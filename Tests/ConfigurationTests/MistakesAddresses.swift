let addressesMistakes: [MistakeRow] = [
    MistakeRow(
        minimal, #""127.0.0.1:8080""#,
        "8080",
        #"3:11: error: "address" must be an address such as "127.0.0.1:8080", "[::1]:8080", "*:8080" or "unix:/run/gateway.sock", not the number 8080"#
    ),
    MistakeRow(
        minimal, #""127.0.0.1:8080""#,
        #""127.0.0.1""#,
        #"3:11: error: "address" must be an address such as "127.0.0.1:8080", "[::1]:8080", "*:8080" or "unix:/run/gateway.sock", not "127.0.0.1""#
    ),
    MistakeRow(
        minimal, #""127.0.0.1:8080""#,
        #""gateway.example.com:8080""#,
        #"3:11: error: "address" must be an address such as "127.0.0.1:8080", "[::1]:8080", "*:8080" or "unix:/run/gateway.sock", not "gateway.example.com:8080""#
    ),
    MistakeRow(
        minimal, #""127.0.0.1:8080""#,
        #""unix:relative.sock""#,
        #"3:11: error: "address" must be an address such as "127.0.0.1:8080", "[::1]:8080", "*:8080" or "unix:/run/gateway.sock", not "unix:relative.sock""#
    ),
    MistakeRow(
        minimal, #""127.0.0.1:8080""#,
        #""127.0.0.1:65536""#,
        #"3:11: error: "address" must be an address such as "127.0.0.1:8080", "[::1]:8080", "*:8080" or "unix:/run/gateway.sock", not "127.0.0.1:65536""#
    ),
    MistakeRow(
        minimal, #"address = "127.0.0.1:8080""#,
        #"address = "*:80"\#n[listener.b]\#naddress = "127.0.0.1:80""#,
        "5:11: error: [listener.internal] already listens on this address"),
    MistakeRow(
        minimal, #"address = "127.0.0.1:8080""#,
        #"address = "unix:/run/a"\#nunix_mode = "0888""#,
        #"4:13: error: "unix_mode" must be an octal mode as a string, such as "0660", not "0888""#),
    MistakeRow(
        minimal, #"[listener.internal]\#naddress = "127.0.0.1:8080"\#n"#,
        "",
        "1:1: error: there is no [listener.NAME]: callers could not connect"),
    MistakeRow(
        full, #""127.0.0.1:9090""#,
        #""127.0.0.1:8080""#,
        "4:11: error: [listener.internal] already listens on this address"),
    MistakeRow(
        full, #""127.0.0.1:9090""#,
        #""*:9090""#,
        #"4:11: error: the console may not listen on *:9090 without authentication: add "secret_file", or use a loopback address"#
    ),
    MistakeRow(
        full, #""127.0.0.1:9090""#,
        #""127.0.0.1:9090"\#nsecret_file = "/k/none""#,
        #"5:15: error: the file "/k/none" cannot be read: there is no such file"#),
    MistakeRow(
        full, #""127.0.0.1:9090""#,
        #""127.0.0.1:9090"\#nsecret_file = "/k/secret"\#nsecret_env = "HOME""#,
        "5:15: error: the environment variable HOME is not set",
        #"6:14: error: "secret_env" and "secret_file" exclude each other"#),
    MistakeRow(
        full, #""https://gateway.example.com""#,
        #""http://gateway.example.com""#,
        #"5:14: error: "public_url" must be https://, or http:// with a loopback address: codes travel through it"#),
    MistakeRow(
        full, #""https://gateway.example.com""#,
        #""https://gateway.example.com?x=1""#,
        #"5:14: error: "public_url" must be an absolute URL such as "https://api.example.com", without query, not "https://gateway.example.com?x=1""#
    ),
    MistakeRow(
        full, #""https://gateway.example.com""#,
        #""https://gateway.example.com/#x""#,
        #"5:14: error: "public_url" must be an absolute URL such as "https://api.example.com", without query, not "https://gateway.example.com/#x""#
    ),
    MistakeRow(
        full, #""https://gateway.example.com""#,
        #""gateway.example.com""#,
        #"5:14: error: "public_url" must be an absolute URL such as "https://api.example.com", without query, not "gateway.example.com""#
    ),
    MistakeRow(
        full, #"public_url = "https://gateway.example.com"\#n"#,
        "",
        #"3:1: error: [console] needs "public_url", because [grant.crm] has a provider: the redirect URI is public_url + /oauth/callback"#
    ),
    MistakeRow(
        full, #"[console]\#naddress = "127.0.0.1:9090"\#npublic_url = "https://gateway.example.com"\#n"#,
        "",
        "11:12: error: a grant with a provider needs [console], which receives the callback"),
    MistakeRow(
        full, #"[store]\#npath = "/var/lib/token-gateway/grants.db"\#nkey_file = "/k/store.key"\#n"#,
        "",
        "11:12: error: a grant with a provider needs [store], where its tokens are kept"),
    MistakeRow(
        full, #"key_file = "/k/store.key"\#n"#,
        "",
        #"6:1: error: [store] needs its key: one of "key_file", "key_env" and "key_credential""#),
    MistakeRow(
        full, #"key_file = "/k/store.key"\#n"#,
        #"key_credential = "store"\#n"#,
        #"8:18: warning: the credential "store" cannot be read: CREDENTIALS_DIRECTORY is not set: the gateway was not started by systemd"#
    ),
    MistakeRow(
        full, #"key_file = "/k/store.key"\#n"#,
        "key_file = []\n",
        #"8:12: error: "key_file" must not be an empty list"#),
    MistakeRow(
        full, #""/var/lib/token-gateway/grants.db""#,
        #""/nowhere/grants.db""#,
        #"7:8: error: "path" needs the folder "/nowhere", which does not exist"#),
    MistakeRow(
        full, #""/var/lib/token-gateway/grants.db""#,
        #""grants.db""#,
        #"7:8: error: "path" must be an absolute path such as "/etc/token-gateway/…", not "grants.db""#),
]
