let oauthMistakes: [MistakeRow] = [
    MistakeRow(
        full, #"issuer = "https://accounts.zoho.com"\#n"#,
        "",
        #"9:1: error: [provider.zoho] needs "issuer", or both "authorize_url" and "token_url""#),
    MistakeRow(
        full, #"issuer = "https://accounts.zoho.com"\#n"#,
        #"authorize_url = "https://a/b"\#nrequire_iss = true\#n"#,
        #"9:1: error: [provider.zoho] needs "issuer", or both "authorize_url" and "token_url""#,
        #"11:15: error: "require_iss" has no meaning without "issuer""#),
    MistakeRow(
        full, #""https://accounts.zoho.com""#,
        #""http://accounts.zoho.com""#,
        #"10:10: error: "issuer" must be https://: only loopback addresses may do without"#),
    MistakeRow(
        full, #""https://accounts.zoho.com""#,
        #""http://127.0.0.1:99""#,
        #"10:10: error: "issuer" must be https://, or the provider say allow_plaintext = true"#),
    MistakeRow(
        full, #""https://accounts.zoho.com""#,
        #""https://accounts.zoho.com?tenant=1""#,
        #"10:10: error: "issuer" must be an issuer's URL such as "https://accounts.example.com", without query and fragment, not "https://accounts.zoho.com?tenant=1""#
    ),
    MistakeRow(
        full, #""https://accounts.zoho.com""#,
        #""https://user@accounts.zoho.com""#,
        #"10:10: error: "issuer" must be an issuer's URL such as "https://accounts.example.com", without query and fragment, not "https://…@accounts.zoho.com""#
    ),
    MistakeRow(
        full, #""https://accounts.zoho.com""#,
        #""https://a.example"\#ntoken_url = "https://a.example/token?x=1""#,
        #"11:13: error: "token_url" must not have a query; use token_params"#),
    MistakeRow(
        full, #"client_id = "1000.ABC"\#n"#,
        "",
        #"9:1: error: [provider.zoho] needs "client_id""#),
    MistakeRow(
        full, #"client_id = "1000.ABC""#,
        #"client_idd = "1000.ABC""#,
        #"9:1: error: [provider.zoho] needs "client_id""#,
        #"11:1: error: unknown directive "client_idd" in [provider.zoho]; did you mean "client_id"?"#),
    MistakeRow(
        full, #"client_secret_file = "/k/secret""#,
        #"client_auth = "client_secret_post""#,
        #"12:15: error: this "client_auth" needs "client_secret_file" or another secret"#),
    MistakeRow(
        full, #"client_secret_file = "/k/secret""#,
        #"client_secret_file = "/k/secret"\#nclient_auth = "none""#,
        #"13:15: error: "client_auth" is "none", and so the client secret would not be used"#),
    MistakeRow(
        full, #"client_secret_file = "/k/secret""#,
        #"client_auth = "basic""#,
        #"12:15: error: "client_auth" must be "auto", "client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth", "bearer_secret", "secret_as_user" or "none", not "basic"; did you mean "client_secret_basic"?"#
    ),
    MistakeRow(
        full, #"client_secret_file = "/k/secret""#,
        #"client_secret_file = ["/k/secret", "/k/secret"]"#,
        #"12:36: error: "client_secret_file" has "/k/secret" twice"#),
    MistakeRow(
        full, #"client_secret_file = "/k/secret""#,
        #"client_secret_env = "ZOHO_SECRET""#,
        "12:21: error: the environment variable ZOHO_SECRET is not set"),
    MistakeRow(
        full, #"client_secret_file = "/k/secret""#,
        #"client_secret_env = "$ZOHO""#,
        #"12:21: error: "client_secret_env" must be the name of an environment variable, without "$"; what stands there is not shown, as it may be the secret itself"#
    ),
    MistakeRow(
        full, #"client_secret_file = "/k/secret""#,
        #"client_secret_credential = "../x""#,
        #"12:28: error: "client_secret_credential" must be the name of a systemd credential, without "/"; what stands there is not shown, as it may be the secret itself"#
    ),
    MistakeRow(
        full, #"client_secret_file = "/k/secret""#,
        #"client_secret_file = "secret""#,
        #"12:22: error: "client_secret_file" must be an absolute path such as "/etc/token-gateway/…"; what stands there is not shown, as it may be the secret itself"#
    ),
    MistakeRow(
        full, #"client_secret_file = "/k/secret""#,
        #"client_secret_file = ["/k/a", "p4ssw0rd"]"#,
        #"12:31: error: "client_secret_file" has an element that must be an absolute path such as "/etc/token-gateway/…"; what stands there is not shown, as it may be the secret itself"#
    ),
    MistakeRow(
        full, "client_id =",
        #"device_url = "https://me:p4ssw0rd@a.example/x"\#nclient_id ="#,
        #"11:14: error: "device_url" must be an absolute URL such as "https://api.example.com", not "https://…@a.example/x""#
    ),
    MistakeRow(
        full, "client_id =",
        #"authorize_params = { state = "1", prompt = 1 }\#nclient_id ="#,
        #"11:22: error: "authorize_params" must not set "state", which the gateway sets itself"#,
        #"11:44: error: "authorize_params" has "prompt", which must be a string, not the number 1"#),
    MistakeRow(
        full, "client_id =",
        #"token_headers = { "a b" = "1", Host = "x", X-A = "1\r\n", x-a = "2" }\#nclient_id ="#,
        #"11:19: error: "token_headers" has "a b", which is not a header field's name"#,
        #"11:32: error: "token_headers" must not set "Host", which the gateway sets itself"#,
        #"11:50: error: "token_headers" has "X-A", which must not hold control characters such as line breaks"#,
        #"11:59: error: "token_headers" has "x-a" twice"#),
    MistakeRow(
        full, "client_id =",
        #"error_aliases = { bad = "invalid_grand" }\#nclient_id ="#,
        #"11:25: error: "error_aliases" has "bad", which must be "invalid_grant", "invalid_client", "temporarily_unavailable" or "success", not "invalid_grand"; did you mean "invalid_grant"?"#
    ),
    MistakeRow(
        full, "client_id =",
        #"paths = { acces_token = "a", scope = "a..b" }\#nclient_id ="#,
        #"11:11: error: "paths" has an unknown member "acces_token"; did you mean "access_token"?"#,
        #"11:38: error: "paths" has "scope", which must be names with dots between them, not "a..b""#),
    MistakeRow(
        full, "client_id =",
        #"refresh_scope = "all"\#nscope_separator = "xx"\#nclient_id ="#,
        #"11:17: error: "refresh_scope" must be "omit", "same" or a list of scopes, not "all""#,
        #"12:19: error: "scope_separator" must be one printable ASCII character that is not a letter or digit, not "xx""#
    ),
    MistakeRow(
        full, "client_id =",
        #"header = "Content-Length"\#nscheme = "Zoho oauthtoken"\#nclient_id ="#,
        #"11:10: error: "header" must be a header field's name that is not part of the message's framing, not "Content-Length""#,
        #"12:10: error: "scheme" must be an authentication scheme such as "Bearer", or empty, not "Zoho oauthtoken""#),
    MistakeRow(
        full, "client_id =",
        #"refresh_skew = 60\#ntimeout = "1h"\#nreplay_window = "1m 30s"\#nclient_id ="#,
        #"11:16: error: "refresh_skew" must be a duration in quotes such as "30s" or "1m30s" (0s to 1d), not the number 60"#,
        #"12:11: error: "timeout" must be a duration in quotes such as "30s" or "1m30s" (1s to 10m), not "1h""#,
        #"13:17: error: "replay_window" must be a duration in quotes such as "30s" or "1m30s" (1s to 10m, or "0s": never), not "1m 30s""#
    ),
    MistakeRow(
        full, "client_id =",
        #"scope_separator = "."\#nclient_id ="#,
        #"16:10: error: "ZohoCRM.modules.ALL" is not one scope: it holds the provider's scope_separator"#),
    MistakeRow(
        full, #"provider = "zoho""#,
        #"provider = "zoo""#,
        #"14:12: error: there is no [provider.zoo]; did you mean "zoho"?"#),
    MistakeRow(
        full, #"provider = "zoho"\#n"#,
        "",
        #"13:1: error: [grant.crm] needs "provider" or "token_file""#),
    MistakeRow(
        full, #"provider = "zoho""#,
        #"provider = "zoho"\#ntoken_file = "/k/token""#,
        #"15:14: error: "token_file" and "provider" exclude each other"#),
    MistakeRow(
        full, #"["ZohoCRM.modules.ALL"]"#,
        #""ZohoCRM.modules.ALL""#,
        #"15:10: error: "scopes" must be a list, not "ZohoCRM.modules.ALL""#),
    MistakeRow(
        full, #"["ZohoCRM.modules.ALL"]"#,
        #"["a b", 1, "c", "c"]"#,
        #"15:11: error: "scopes" has an element that must be a scope: printable ASCII without spaces, quotes and backslashes, not "a b""#,
        #"15:18: error: "scopes" has an element that must be a scope: printable ASCII without spaces, quotes and backslashes, not the number 1"#,
        #"15:26: error: "scopes" has "c" twice"#),
    MistakeRow(
        full, #"["ZohoCRM.modules.ALL"]"#,
        #"["a"]\#nrequired_scopes = ["b"]"#,
        #"16:19: error: "b" is required, but not one of "scopes""#),
    MistakeRow(
        minimal, #"token_file = "/k/token""#,
        #"token_file = "/k/token"\#nscopes = ["a"]"#,
        #"6:10: error: "scopes" needs a provider; a token_file has none"#),
    MistakeRow(
        minimal, #"token_file = "/k/token""#,
        #"token_file = "/k/later""#,
        #"5:14: warning: the file "/k/later" cannot be read: there is no such file"#),
]
