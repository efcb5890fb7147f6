import Configuration
import OpenSSLKit

@testable import OAuth

/// The lines that an operator writes who uses a profile, and what else a gateway.conf needs.
enum ProfileConfiguration {
    struct Unusable: Error {}

    static let environment = ConfigurationEnvironment(
        variable: { _ in nil },
        readFile: { path, _ in
            let text =
                path.hasSuffix(".json")
                ? serviceAccount : path.hasSuffix(".key") ? String(repeating: "k", count: 32) : ProfileScript.secret
            return .success(FileContents(bytes: Array(text.utf8), mode: 0o600, owner: 0))
        },
        isDirectory: { _ in true }, processorCount: 2)

    private static let rest = """

        [listener.internal]
        address = "127.0.0.1:8080"
        [console]
        public_url = "https://gateway.example.com"
        [store]
        path = "/var/lib/token-gateway/grants.db"
        key_file = "/k/store.key"

        """

    static func snapshot(_ profile: String, changing: [(String, String)] = []) throws -> Snapshot {
        guard var text = ProviderProfile.named(profile)?.usage else { throw Unusable() }
        for (line, replacement) in changing { text = text.replacing(line, with: replacement) }
        let outcome = GatewayConfiguration.parse(Array((text + rest).utf8), file: "f", environment: environment)
        guard let snapshot = outcome.snapshot, outcome.diagnostics.isEmpty else {
            throw Mistaken(diagnostics: outcome.diagnostics.map(\.description))
        }
        return snapshot
    }

    struct Mistaken: Error {
        var diagnostics: [String]
    }

    /// The form that Google documents; the key is nobody's.
    private static let serviceAccount = String(
        decoding: JSONValue.object([
            "type": .string("service_account"), "project_id": .string("project"),
            "private_key_id": .string("0123456789abcdef"), "private_key": .string(key),
            "client_email": .string("robot@project.iam.gserviceaccount.com"), "client_id": .string("123"),
            "token_uri": .string("https://oauth2.googleapis.com/token"),
        ]).encoded(), as: UTF8.self)

    private static let key = """
        -----BEGIN PRIVATE KEY-----
        MIIEvgIBADANBgkqhkiG9w0BAQEFAASCBKgwggSkAgEAAoIBAQC6Y9twTcTDKJfu
        vS0ltVMhJ89fwaW3ERMc9VfqqFEhW5pI21+Py2POiwMiLgbvS0am96VIT5au5B9/
        +tKVh++Gj8bhDlGPYPYXy4AOlTpiAHUOVMUv4G5HwwFbnQa83sK3xEyo2e4hrX5S
        7UtvNMF1O3RicO4UXehdN7vdHmVHn4RxPQeo7BW87FeoW5KgP+W/LpuVbK23zlJQ
        oynx/rd3PEI2w2gUh3l8K4E4xtCGHVTqcJeR/nNJ5LWiJfJzspzKBtZ6FSB9j8fm
        XpRwaUJirasXkup+iXL25MjAeIDP7jdU9yqeICDCThyxkUXIEnLjI9PYmY4HEuut
        dIZk8x8vAgMBAAECggEAXONL5jVThCDUSr2LZNnvEjxpO+LhJ5ECUfGw/Tghqnqg
        soNlJd+qHzIm/x8qBJIipS4QeC91vDXivuBslumWRJydc+YzXj1nlycq69mRrWpl
        65zyYjA6NVgo8pOYWoK3Tmas/48P/kech05LxCFp8fcNwstd0teT5/TRElrGBYFP
        dVZDc0nQxeTTVckj6wGYC3QesVLRVWmjKqfOMp2PNt89T2aocFfHpo2BBczEARBa
        1KV9pxVuGWI9Xk6v3R/tzm39fmm2a5m202BmfEZ01Hexw4KHDmcPMqnnbpTlnVO6
        o425k6tAZue75Q4TVphaS5MuURlixPZCOWHjLxJLBQKBgQDfKrILvSkIrRS2UpNi
        R55iFi5HwEQ9398P+z85mIYxU7Q6ue1el5WVcEYxebBPgoozzi7R8F9Tz+5Ij59V
        FWnsqO8nfzY/CGZ9RC1vV38n51JMMJuganHC+0VkHofXYoMMTFlQIrCbkwpzHWFM
        dJ3JJoEyBvhtEDkWBwQA5eanAwKBgQDV0AL+IoSBaSNtiQ5M0kCiMYytaYEA6U7o
        gVzswJug9jIL6UUrJDTtXA1SMonjT3gmqesaPoi9T+RqcTkI3vIomIxqK0Yefswd
        hyD2yKrTIJUV6UGhYY2CvCznSbLlKSMimvkKzjtmRPyiU4S4ttnB3AoN5NXagfug
        qKcoP9FpZQKBgQC1ow2JKmvkiOMrxif5POt3UDBY6+9fIQBwBIGgQjkumr89cSj2
        7Y+tMtWe3TmYbVpI8g7/hpJAKCP8YRFA8g3ltlX4orynLxIj8MK+Ncvj0Y4VPxbb
        yOdQ2KzQ4VyU/LRG5TloVOPDrDk8GnSgAuaN2s4axruaITMlb45doMFLuwKBgQCu
        0qA/z1VswtzW6SOqKJf0hnMyL3vtlNaSQYQLiQk3OVZ+asPFnJsyIPw7Y1tfY1Eo
        u/KhyNPhhvuLFPy/hhuWmfTlsnBo6uBWnHCVmEokyxVbjxe8rpkYdmh4zMfbnCFA
        YFqVPT9QRcQTrhptNgUi/5mw9pTtTy7BlGTpAhVmCQKBgBJSuwKSFN00RjlvhjJY
        fvZmpXQTbnbiAT5wIAxlzc5IwvsubXj8/r/bHLH4mc6Ep1BmOtS3pC2Ha1qZgZHK
        0uo9rr0vu5BMqDnUwNmSKPgTbQOmllPNTnhGYHuqAk7dnpCcXvTU6XKxpoVO9/1O
        OlM6FFagGVKp4t0MFGstLNVZ
        -----END PRIVATE KEY-----

        """
}

/// What providers sign id_tokens with.
enum ProfileKeys {
    private static let key = try! SigningKey.generate(.rsa)

    static let keySet = #"{"keys":[\#(key.publicKey.jwk.dropLast()),"kid":"k1","use":"sig","alg":"RS256"}]}"#

    static func idToken(issuer: String, audience: String, nonce: String, seconds: Int64) -> String {
        try! JSONWebToken.signed(
            header: [("kid", .string("k1"))],
            claims: [
                ("iss", .string(issuer)), ("aud", .string(audience)), ("sub", .string("user-1")),
                ("iat", .number(String(seconds))), ("exp", .number(String(seconds + 3600))), ("nonce", .string(nonce)),
            ], key: key, algorithm: .rs256)
    }
}
