/// Endpoints instead of an issuer, with `lines` in the provider.
private func endpoints(_ lines: String, in base: String = full) -> String {
    base.replacing(
        #"issuer = "https://accounts.zoho.com""#,
        with: #"authorize_url = "https://a.example/auth"\#ntoken_url = "https://a.example/token"\#n"# + lines)
}

private let shops = """
    [listener.internal]
    address = "127.0.0.1:8080"
    [console]
    public_url = "https://gateway.example.com"
    [store]
    path = "/var/lib/token-gateway/grants.db"
    key_file = "/k/store.key"
    [provider.shops]
    authorize_url = "https://{shop}.example.com/auth"
    token_url = "https://{shop}.example.com/token"
    client_id = "a"
    client_secret_file = "/k/secret"
    required_variables.shop = { about = "the shop's name", example = "acme", pattern = "[a-z]+" }
    [grant_template.shops]
    provider = "shops"
    [upstream.shops]
    url = "https://{shop}.example.com"
    allowed_hosts = ["*.example.com"]
    [route.shops]
    path = "/shops/*"
    upstream = "shops"
    grant_template = "shops"
    grant_from = "header:X-Shop"

    """

private let unattended = """
    [listener.internal]
    address = "127.0.0.1:8080"
    [store]
    path = "/var/lib/token-gateway/grants.db"
    key_file = "/k/store.key"
    [provider.p]
    token_url = "https://a.example/token"
    client_id = "a"
    client_secret_file = "/k/secret"
    [grant.g]
    provider = "p"
    type = "client_credentials"
    [upstream.u]
    url = "https://a.example"
    [route.r]
    path = "/*"
    upstream = "u"
    grant = "g"

    """

private let database = """
    [listener.internal]
    address = "127.0.0.1:8080"
    [store]
    url = "postgresql://gateway@db.example.com/tokens"
    key_file = "/k/store.key"
    [upstream.u]
    url = "https://a.example"
    [route.r]
    path = "/*"
    upstream = "u"

    """

let unattendedMistakes: [MistakeRow] = [
    MistakeRow(
        unattended, #"client_secret_file = "/k/secret"\#n"#, "",
        #"11:8: error: type "client_credentials" needs a client that authenticates: give [provider.p] a client secret, a key or a certificate"#
    ),
    MistakeRow(
        unattended, #"token_url = "https://a.example/token"\#n"#, "",
        #"6:1: error: [provider.p] needs "issuer" or "token_url""#),
    MistakeRow(
        unattended, #""client_credentials""#, #""client_credential""#,
        #"12:8: error: "type" must be "authorization_code", "client_credentials", "jwt_bearer", "token_exchange" or "device", not "client_credential"; did you mean "client_credentials"?"#
    ),
    MistakeRow(
        unattended, #""client_credentials""#,
        #""client_credentials"\#nsubject = "x"\#naudience = "y"\#nexpected_account = "z""#,
        #"13:11: error: "subject" is for type "jwt_bearer"; this grant's type is "client_credentials""#,
        #"14:12: error: "audience" is for type "token_exchange"; this grant's type is "client_credentials""#,
        #"15:20: error: "expected_account" is for type "authorization_code" or "device"; this grant's type is "client_credentials""#
    ),
    MistakeRow(
        unattended, #""client_credentials""#, #""jwt_bearer""#,
        #"12:8: error: type "jwt_bearer" needs "client_key_file" or "service_account_file" in [provider.p]"#),
    MistakeRow(
        unattended, #""client_credentials""#, #""device""#,
        #"6:1: error: [provider.p] needs "issuer" or "device_url" for a grant of type "device""#,
        #"12:8: error: type "device" needs [console], through which it is started"#),
    MistakeRow(
        unattended, #""client_credentials""#, #""token_exchange""#,
        #"12:8: error: type "token_exchange" needs "subject_token_file" or "subject_token_grant""#),
    MistakeRow(
        unattended, #""client_credentials""#,
        #""token_exchange"\#nsubject_token_grant = "g"\#nsubject_token_type = "jwtt"\#nactor_token_type = "jwt""#,
        #"13:23: error: "subject_token_grant" leads back to [grant.g]: its token would be exchanged for itself"#,
        #"14:22: error: "subject_token_type" must be "access_token", "refresh_token", "id_token", "jwt", "saml1", "saml2" or a URI, not "jwtt"; did you mean "jwt"?"#,
        #"15:20: error: "actor_token_type" has no meaning without an actor's token"#),
    MistakeRow(
        unattended, #""client_credentials""#,
        #""token_exchange"\#nsubject_token_grant = "gg"\#nsubject_token_file = "/k/token""#,
        #"13:23: error: "subject_token_grant" and "subject_token_file" exclude each other"#),
    MistakeRow(
        unattended, #""client_credentials""#, #""authorization_code""#,
        #"6:1: error: [provider.p] needs "issuer", or both "authorize_url" and "token_url""#,
        #"11:12: error: a grant with a provider needs [console], which receives the callback"#),
]

let keyMistakes: [MistakeRow] = [
    MistakeRow(
        full, #"client_secret_file = "/k/secret""#, #"client_auth = "private_key_jwt""#,
        #"12:15: error: this "client_auth" needs "client_key_file""#),
    MistakeRow(
        full, #"client_secret_file = "/k/secret""#, #"client_auth = "tls_client_auth""#,
        #"12:15: error: this "client_auth" needs "client_certificate_file""#),
    MistakeRow(
        full, #"client_secret_file = "/k/secret""#, #"client_auth = "bearer_secret""#,
        #"12:15: error: this "client_auth" needs "client_secret_file" or another secret"#),
    MistakeRow(
        full, #"client_secret_file = "/k/secret""#,
        #"client_secret_file = "/k/secret"\#nclient_key_file = "/k/none"\#nclient_auth = "private_key_jwt""#,
        #"13:19: error: the file "/k/none" cannot be read: there is no such file"#,
        #"14:15: error: "client_auth" is "private_key_jwt", and so the client secret would not be used"#),
    MistakeRow(
        full, #"client_secret_file = "/k/secret""#, #"client_key_file = "/k/secret""#,
        #"12:19: error: the file "/k/secret" has no usable private key: it must hold one unencrypted PEM PRIVATE KEY block"#
    ),
    MistakeRow(
        full, #"client_secret_file = "/k/secret""#, #"client_certificate_file = "/k/ca.pem"\#nclient_key_id = "1""#,
        #"12:27: error: "client_certificate_file" needs "client_certificate_key_file""#,
        #"13:17: error: "client_key_id" needs "client_key_file""#),
    MistakeRow(
        full, #"client_secret_file = "/k/secret""#, #"service_account_file = "/k/secret""#,
        #"12:24: error: the file "/k/secret" is not the JSON file of a Google service account"#),
    MistakeRow(
        full, "client_id =", #"dpop = true\#nresources = ["x"]\#npushed_requests = "on"\#nclient_id ="#,
        #"11:8: error: "dpop" must be "off" or "on", not true"#,
        #"12:14: error: "resources" has an element that must be an absolute URI such as "https://api.example.com", without fragment, not "x""#,
        #"13:19: error: "pushed_requests" must be "auto", "required" or "off", not "on""#),
    MistakeRow(
        endpoints(#"pushed_requests = "required""#), "zzz", "zzz",
        #"12:19: error: "pushed_requests" needs "pushed_request_url", or "issuer" to find it"#),
    MistakeRow(
        endpoints(""), #"["ZohoCRM.modules.ALL"]"#, #"["openid"]"#,
        #"17:10: error: "openid" gives an id_token, whose check needs "issuer" or "jwks_url" in [provider.zoho], or "check_id_token" = false there"#
    ),
]

let variableMistakes: [MistakeRow] = [
    MistakeRow(
        endpoints(#"refresh_url = "https://{tennant}.a.example/t"\#nvariables = { tenant = "x" }"#), "zzz", "zzz",
        #"12:15: error: "refresh_url" has {tennant}, which nothing gives a value: put it into "variables" or capture it; did you mean "tenant"?"#
    ),
    MistakeRow(
        endpoints(#"refresh_url = "https://{Tenant}.a.example/t""#), "zzz", "zzz",
        #"12:15: error: "refresh_url" must be an absolute URL such as "https://api.example.com", not "https://{Tenant}.a.example/t""#
    ),
    MistakeRow(
        endpoints(#"refresh_url = "https://{host}/t"\#nresponse_capture = { host = "api host" }"#), "zzz", "zzz",
        #"12:15: error: "refresh_url" lets {host} choose the host: "allowed_hosts" must say which are right"#),
    MistakeRow(
        full.replacing(
            #"issuer = "https://accounts.zoho.com""#,
            with:
                #"authorize_url = "https://a.example/"\#ntoken_url = "https://{dc}/t"\#ncallback_capture.dc = "dc host"\#nallowed_hosts = ["*.example"]"#
        ), "zzz", "zzz",
        #"11:13: error: "token_url" has {dc}, whose value is captured only later: give "variables" a value for the time before"#,
        #"13:18: error: "allowed_hosts" has an element that must be a host such as "api.example.com", or "*.example.com" for all below it, not "*.example""#
    ),
    MistakeRow(
        full, #""https://accounts.zoho.com""#, #""https://{tenant}.zoho.com""#,
        #"10:10: error: "issuer" has {tenant}, which must be one of the provider's own "variables""#),
    MistakeRow(
        full, "client_id =",
        #"callback_capture = { Dc = "a b", d = "x hosst" }\#nextra_headers = { a = "{b", c = "{d}{e}" }\#nclient_id ="#,
        #"11:22: error: "callback_capture" has "Dc", which cannot stand in {…}: use small letters, digits and "_""#,
        #"11:27: error: "callback_capture" has "Dc", which must be the parameter's name, a kind and "required", such as "realmId digits required", not "a b""#,
        #"11:38: error: "callback_capture" has "d", which must be the parameter's name, a kind and "required", such as "realmId digits required", not "x hosst""#,
        #"12:23: error: "extra_headers" has "a", where "{" and "}" must stand around a name"#,
        #"12:33: error: "extra_headers" has "c" with {d}, which nothing gives a value: put it into "variables" or capture it"#,
        #"12:33: error: "extra_headers" has "c" with {e}, which nothing gives a value: put it into "variables" or capture it"#
    ),
    MistakeRow(
        full, "client_id =",
        #"rename_params = { state = "s", "a.b" = "c" }\#nomit_authorize_params = ["nonce"]\#nclient_id ="#,
        #"11:19: error: "rename_params" must not rename "state""#,
        #"11:32: error: "rename_params" has "a.b": in front of the dot stands "authorize", "code", "refresh" or "token""#,
        #"12:26: error: "omit_authorize_params" has an element that must be a parameter other than state, nonce and those of PKCE (pkce = "off"), not "nonce""#
    ),
    MistakeRow(
        full, "client_id =",
        #"revocation = { method = "PUT", statuses = [1] }\#nlookup = [{ capture = { a = "b" } }, 1]\#nclient_id ="#,
        #"11:25: error: "revocation" has "method", which must be "POST", "DELETE" or "GET", not "PUT""#,
        #"11:32: error: "revocation" has an unknown member "statuses"; did you mean "done_statuses"?"#,
        #"12:11: error: "lookup" needs "url""#,
        #"12:38: error: "lookup" has an element that must be a table such as [{ url = "https://api.example.com/me", capture = { tenant = "id word" } }], not the number 1"#
    ),
    MistakeRow(
        full, "client_id =",
        #"required_variables.a = { about = "x", example = "1", pattern = "[a-z]" }\#nrequired_variables.b = { about = "x", pattern = "[" }\#nclient_id ="#,
        #"11:24: error: "required_variables" has an example that its pattern does not take"#,
        #"12:24: error: "required_variables" has "b", which needs "example""#,
        #"12:49: error: "required_variables" has "b", which has "pattern", which must be a regular expression, not "[""#
    ),
]

let selectionMistakes: [MistakeRow] = [
    MistakeRow(
        shops, #"[grant_template.shops]"#, #"[grant.g]\#nprovider = "shops"\#n[grant_template.shops]"#,
        #"14:1: error: [grant.g] needs the variable "shop", the shop's name: write variables = { shop = "acme" }"#),
    MistakeRow(
        shops, #"provider = "shops""#, #"provider = "shops"\#nvariables = { shop = "Acme" }"#,
        #"16:22: error: "variables" has "shop", which must be the shop's name, such as "acme""#),
    MistakeRow(
        shops, #"provider = "shops""#, #"token_file = "/k/token""#,
        #"8:1: error: [provider.shops] needs the variable "shop", the shop's name: write variables = { shop = "acme" }"#,
        #"14:1: error: [grant_template.shops] needs "provider""#,
        #"15:1: error: unknown directive "token_file" in [grant_template.shops]; it belongs in [grant.NAME]"#,
        #"17:7: error: "url" has {shop}, which the token_file of [grant.shops] does not give"#),
    MistakeRow(
        shops, #"grant_template = "shops""#, #"grant_template = "shop"\#ngrant = "x""#,
        #"22:18: error: "grant_template" and "grant" exclude each other"#,
        #"23:9: error: there is no [grant.x]"#),
    MistakeRow(
        shops, #"grant_template = "shops""#, #"grant_template = "shop""#,
        #"22:18: error: there is no [grant_template.shop]; did you mean "shops"?"#),
    MistakeRow(
        shops, #"grant_from = "header:X-Shop"\#n"#, "",
        #"22:18: error: "grant_template" needs "grant_from", which says which of its grants a request gets"#),
    MistakeRow(
        minimal, #"grant = "fixed""#, #"grant = "fixed"\#ngrant_from = "caller"\#nremove_grant_header = true"#,
        #"13:14: error: "grant_from" has no meaning without "grant_template""#,
        #"13:14: error: "grant_from" is "caller", but no listener knows its callers: that takes "client_ca_file" or a Unix socket"#,
        #"14:23: error: "remove_grant_header" has no meaning unless "grant_from" is "header:NAME""#),
    MistakeRow(
        shops, #""header:X-Shop""#, #""path:1""#,
        #"23:14: error: "grant_from" is "path:1", which is always "shops" here: the first that differs is "path:2""#),
    MistakeRow(
        shops, #""header:X-Shop""#, #""path:0""#,
        #"23:14: error: "grant_from" must be "header:NAME", "path:N" with N from 1 to 32, "caller" or "name:NAME", not "path:0""#
    ),
    MistakeRow(
        shops, #""header:X-Shop""#, #""header:Authorization""#,
        #"23:14: error: "grant_from" names "authorization", in which the token of [grant_template.shops] goes upstream"#
    ),
    MistakeRow(
        shops, #"allowed_hosts = ["*.example.com"]\#n"#, "",
        #"17:7: error: "url" lets {shop} choose the host: "allowed_hosts" must say which are right"#),
    MistakeRow(
        shops, #"url = "https://{shop}.example.com""#, #"url = "https://{shopp}.example.com""#,
        #"17:7: error: "url" has {shopp}, which [provider.shops] does not give; did you mean "shop"?"#),
    MistakeRow(
        shops, #"grant_template = "shops"\#ngrant_from = "header:X-Shop"\#n"#, "",
        #"21:12: error: [upstream.shops] has {shop} in its url, which only a grant gives: add "grant""#),
]

/// What would be accepted and then ignored, or sent twice.
let ignoredMistakes: [MistakeRow] = [
    MistakeRow(
        full, "client_id =",
        #"extra_headers = { authorization = "x", Via = "1.1 me", X-Forwarded-For = "a", DPoP = "b" }\#nclient_id ="#,
        #"11:19: error: "extra_headers" must not set "authorization", which the gateway sets itself"#,
        #"11:40: error: "extra_headers" must not set "Via", which the gateway sets itself"#,
        #"11:56: error: "extra_headers" must not set "X-Forwarded-For", which the gateway sets itself"#,
        #"11:79: error: "extra_headers" must not set "DPoP", which the gateway sets itself"#),
    MistakeRow(
        full, "client_id =", #"header = "X-Key"\#nextra_headers = { x-key = "1" }\#nclient_id ="#,
        #"12:19: error: "extra_headers" must not set "x-key", which carries the token"#),
    MistakeRow(
        full, "client_id =", #"rename_params = { client_id = "state", scope = "nonce" }\#nclient_id ="#,
        #"11:31: error: "rename_params" must not call "client_id" "state", which is another parameter of a consent"#,
        #"11:48: error: "rename_params" must not call "scope" "nonce", which is another parameter of a consent"#),
    MistakeRow(
        full, "client_id =", #"rename_params = { client_id = "key", client_secret = "key" }\#nclient_id ="#,
        #"11:54: error: "rename_params" gives "key" to two parameters of one request: "client_id" and "client_secret""#),
    MistakeRow(
        full, "client_id =", #"rename_params = { client_id = "redirect_uri" }\#nclient_id ="#,
        #"11:31: error: "rename_params" gives "redirect_uri" to two parameters of one request: "client_id" and "redirect_uri""#
    ),
    MistakeRow(
        full, "client_id =",
        #"rename_params = { "authorize.client_id" = "prompt" }\#nauthorize_params = { prompt = "x" }\#nclient_id ="#,
        #"11:43: error: "rename_params" gives "prompt" to two parameters of one request: "client_id" and "prompt""#),
    MistakeRow(
        full, "client_id =", #"rename_params = { clientid = "key", "authorize.refresh_token" = "r" }\#nclient_id ="#,
        #"11:19: error: "rename_params" has "clientid", which is no standard parameter of such a request; did you mean "client_id"?"#,
        #"11:37: error: "rename_params" has "authorize.refresh_token", which is no standard parameter of such a request"#
    ),
    MistakeRow(
        full, "client_id =", #"dpop = "on"\#nscheme = "Bearer"\#ntoken_types = ["user"]\#nclient_id ="#,
        #"12:10: warning: "scheme" has no effect on tokens that are bound by dpop = "on": they are sent as DPoP"#,
        #"13:15: warning: with dpop = "on" only tokens of the type DPoP are taken: "user" will be refused"#),
]

let segmentMistakes: [MistakeRow] = [
    MistakeRow(
        shops, #"grant_from = "header:X-Shop""#, #"grant_from = "header:X-Shop"\#nstrip_grant_segment = true"#,
        #"24:23: error: "strip_grant_segment" has no meaning unless "grant_from" is "path:N""#)
]

let databaseMistakes: [MistakeRow] = [
    MistakeRow(
        database, "gateway@", "gateway:hunter2@",
        #"4:7: error: "url" must not hold a password: put it into the file of "password_file""#),
    MistakeRow(
        database, "/tokens", "/tokens?password=hunter2",
        #"4:7: error: "url" must not hold a password: put it into the file of "password_file""#),
    MistakeRow(
        database, "postgresql://", "mysql://",
        #"4:7: error: "url" must be a database's URL such as "postgresql://gateway@db.example.com:5432/token_gateway?sslmode=verify-full""#
    ),
    MistakeRow(
        database, "gateway@", "",
        #"4:7: error: "url" needs the user's name, as in "postgresql://gateway@db.example.com:5432/token_gateway?sslmode=verify-full""#
    ),
    MistakeRow(
        database, "/tokens", "/tokens?sslmode=prefer",
        #"4:7: error: "url" has an "sslmode" other than "disable", "require", "verify-ca", "verify-full""#),
    MistakeRow(
        database, "/tokens", "/tokens?sslmode=verify-full&sslmode=disable",
        #"4:7: error: "url" has the parameter "sslmode" twice"#),
    MistakeRow(
        database, "gateway@db.example.com/tokens", "gateway@/tokens?host=/run/a&host=/run/b",
        #"4:7: error: "url" has the parameter "host" twice"#),
    MistakeRow(
        database, "/tokens", "/tokens?sslmode=disable",
        #"4:7: warning: sslmode "disable": whoever is on the way to the database can read and change what is stored"#),
    MistakeRow(
        database, "/tokens", "/tokens?application_name=x",
        #"4:7: error: "url" has the parameter "application_name", which is not known; there are "sslmode" and "host""#),
    MistakeRow(
        database, "[upstream.u]", #"path = "/var/lib/token-gateway/x.db"\#npassword_file = "/k/none"\#n[upstream.u]"#,
        #"4:7: error: "url" and "path" exclude each other"#),
    MistakeRow(
        full, "[provider.zoho]", #"instance = "a"\#npassword_file = "/k/secret"\#n[provider.zoho]"#,
        #"9:12: error: "instance" has no meaning without "url""#,
        #"10:17: error: "password_file" has no meaning without "url""#),
    MistakeRow(
        full, #"path = "/var/lib/token-gateway/grants.db"\#n"#, "",
        #"6:1: error: [store] needs "path", or "url" for replicas"#),
]
