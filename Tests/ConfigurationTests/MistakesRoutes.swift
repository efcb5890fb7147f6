let routesMistakes: [MistakeRow] = [
    MistakeRow(
        minimal, #""https://localhost:8443""#,
        #""http://localhost:8443""#,
        #"7:7: error: "url" is http://, where the token would travel in the clear; use https://, or say allow_plaintext = true"#,
        #"8:11: warning: "ca_file" has no meaning with an http:// url"#),
    MistakeRow(
        minimal, #""https://localhost:8443""#,
        #""http://localhost:8443"\#nallow_plaintext = true"#,
        #"9:11: warning: "ca_file" has no meaning with an http:// url"#),
    MistakeRow(
        minimal, #""https://localhost:8443""#,
        #""ftp://localhost""#,
        #"7:7: error: "url" must be an absolute URL such as "https://api.example.com", without query, not "ftp://localhost""#
    ),
    MistakeRow(
        minimal, #""https://localhost:8443""#,
        #""https://local host""#,
        #"7:7: error: "url" must be an absolute URL such as "https://api.example.com", without query, not "https://local host""#
    ),
    MistakeRow(
        minimal, #""https://localhost:8443""#,
        #""https://a/%zz""#,
        #"7:7: error: "url" must be an absolute URL such as "https://api.example.com", without query, not "https://a/%zz""#
    ),
    MistakeRow(
        minimal, #""https://localhost:8443""#,
        #""https://a/../b""#,
        #"7:7: error: "url" must be an absolute URL such as "https://api.example.com", without query, not "https://a/../b""#
    ),
    MistakeRow(
        minimal, #""https://localhost:8443""#,
        #""https://a"\#nmax_connections = 0\#nhost = "a b"\#nconnect_timeout = "0s""#,
        #"8:19: error: "max_connections" must be a whole number from 1 to 100000, not the number 0"#,
        #"9:8: error: "host" must be a host with or without port, such as "api.example.com", not "a b""#,
        #"10:19: error: "connect_timeout" must be a duration in quotes such as "30s" or "1m30s" (1ms to 1d), not "0s""#),
    MistakeRow(
        minimal, #""/k/ca.pem""#,
        #""/k/none.pem""#,
        #"8:11: error: "ca_file" "/k/none.pem" cannot be read: there is no such file"#),
    MistakeRow(
        minimal, #""/k/ca.pem""#,
        #""/k/token""#,
        #"8:11: error: "ca_file" "/k/token" holds no certificate in PEM form"#),
    MistakeRow(
        minimal, #"path = "/*""#,
        #"path = "all""#,
        #"10:8: error: "path" must be a path such as "/crm/orders" or, for all below it, "/crm/*", not "all""#),
    MistakeRow(
        minimal, #"path = "/*""#,
        #"path = "/a/*/b""#,
        #"10:8: error: "path" must be a path such as "/crm/orders" or, for all below it, "/crm/*", not "/a/*/b""#),
    MistakeRow(
        minimal, #"path = "/*""#,
        #"path = "/a/../b""#,
        #"10:8: error: "path" must be a path such as "/crm/orders" or, for all below it, "/crm/*", not "/a/../b""#),
    MistakeRow(
        minimal, #"path = "/*""#,
        #"path = "/a%2fb""#,
        #"10:8: error: "path" must be a path such as "/crm/orders" or, for all below it, "/crm/*", not "/a%2fb""#),
    MistakeRow(
        minimal, #"path = "/*""#,
        #"path = "/crm/*"\#nstrip_prefix = "/cr""#,
        #"11:16: error: "strip_prefix" "/cr" is not the front of "path" "/crm/*""#),
    MistakeRow(
        minimal, #"path = "/*""#,
        #"path = "/crm/*"\#nstrip_prefix = "/crm/""#,
        #"11:16: error: "strip_prefix" must be the front of a path such as "/crm", without "/" at its end, not "/crm/""#
    ),
    MistakeRow(
        minimal, #"path = "/*""#,
        #"path = "/*"\#nmethods = ["get", "TRACE"]\#nhost = "https://a""#,
        #"11:12: error: "methods" has an element that must be an HTTP method in capitals such as "POST", other than CONNECT and TRACE, not "get""#,
        #"11:19: error: "methods" has an element that must be an HTTP method in capitals such as "POST", other than CONNECT and TRACE, not "TRACE""#,
        #"12:8: error: "host" must be a host name such as "api.example.com", without scheme and port, not "https://a""#),
    MistakeRow(
        minimal, #"path = "/*""#,
        #"path = "/*"\#nallow_from = ["10.0.0.1/8", "::1", "300.0.0.0/8"]"#,
        #"11:15: error: "allow_from" has an element that must be an address block such as "10.0.0.0/8" or "::1", with no bits set behind the prefix, not "10.0.0.1/8""#,
        #"11:36: error: "allow_from" has an element that must be an address block such as "10.0.0.0/8" or "::1", with no bits set behind the prefix, not "300.0.0.0/8""#
    ),
    MistakeRow(
        minimal, #"path = "/*""#,
        #"path = "/*"\#nallow_upgrade = ["h2c"]\#nforwarded = "xff""#,
        #"11:18: error: "allow_upgrade" has an element that must be "websocket", not "h2c""#,
        #"12:13: error: "forwarded" must be "off", "x-forwarded" or "rfc7239", not "xff"; did you mean "off"?"#),
    MistakeRow(
        minimal, #"path = "/*""#,
        #"path = "/*"\#nretry_statuses = [200]\#nretry_body_limit = "1MB"\#nrequest_body_limit = -1"#,
        #"11:19: error: "retry_statuses" has an element that must be a whole number from 400 to 599, not the number 200"#,
        #"12:20: error: "retry_body_limit" must be a size such as "64KiB" or a number of bytes (0 to 1GiB), not "1MB""#,
        #"13:22: error: "request_body_limit" must be a size such as "64KiB" or a number of bytes (0 to 1024GiB), not the number -1"#
    ),
    MistakeRow(
        minimal, #"path = "/*""#,
        #"path = "/*"\#nforward_authorization = true"#,
        #"11:25: error: "forward_authorization" would send the caller's Authorization beside that of [grant.fixed]"#),
    MistakeRow(
        minimal, #"grant = "fixed""#,
        "retry_statuses = [401]",
        #"12:18: warning: "retry_statuses" has no meaning without a grant"#),
    MistakeRow(
        minimal, #"grant = "fixed""#,
        #"[route.b]\#npath = "/*"\#nupstream = "api""#,
        "13:8: error: [route.all] already has this path, host and method"),
    MistakeRow(
        minimal, #"grant = "fixed""#,
        #"methods = ["GET", "PUT"]\#n[route.b]\#npath = "/*"\#nupstream = "api"\#nmethods = ["PUT"]"#,
        "14:8: error: [route.all] already has this path, host and method"),
    MistakeRow(
        minimal, #"grant = "fixed""#,
        #"[upstream.b]\#nurl = "https://b""#,
        "12:1: warning: no route uses [upstream.b]"),
    MistakeRow(
        minimal, #"[route.all]\#npath = "/*"\#nupstream = "api"\#ngrant = "fixed"\#n"#,
        "",
        "1:1: warning: there is no [route.NAME]: every request will be answered 404",
        "6:1: warning: no route uses [upstream.api]"),
    MistakeRow(
        minimal, "workers = 1",
        #"[limits]\#ntemp_directory = "/nowhere"\#nheader_bytes = "1KB"\#ntarget_bytes = 100\#n[log]\#naccess = "/nowhere/a.log"\#n[timeouts]\#nhead = "10"\#nbody = "1s""#,
        #"2:18: error: "temp_directory" is "/nowhere", which is not a folder"#,
        #"3:16: error: "header_bytes" must be a size such as "64KiB" or a number of bytes (1KiB to 1MiB), not "1KB""#,
        #"4:16: error: "target_bytes" must be a size such as "64KiB" or a number of bytes (8000 to 1MiB), not the number 100"#,
        #"6:10: error: "access" needs the folder "/nowhere", which does not exist"#,
        #"8:8: error: "head" must be a duration in quotes such as "30s" or "1m30s" (1ms to 1d), not "10""#,
        #"9:1: error: unknown directive "body" in [timeouts]; did you mean "body_idle"?"#),
]
