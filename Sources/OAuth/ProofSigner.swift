import OpenSSLKit

/// Makes DPoP proofs (RFC 9449 section 4.2) with one grant's key, again and again. Belongs to one thread; keep one per
/// grant and worker while the grant's credential has the same `proofKey`.
///
/// For the data plane: the header part and the key are made ready once, and a proof allocates nothing where `output` has
/// room for it (about 450 octets and the URL). Measured here: ES256 takes 30 µs of a core a proof, 27 of them inside
/// OpenSSL's signature; EdDSA takes 64 µs, for OpenSSL 3.0 sets Ed25519 up anew each time. To make a signer takes
/// 250 µs (ES256) or 140 µs (EdDSA): it is not for each request.
package final class ProofSigner {
    private let signer: Signer
    /// The first part of each proof with its dot.
    private let header: [UInt8]
    private var payload: [UInt8] = []
    private var signature: [UInt8] = []

    /// nil: `encoded` is not a proof key's.
    package convenience init?(encoded: Secret) {
        guard let key = ProofKey(encoded: encoded.reveal()) else { return nil }
        self.init(key)
    }

    package init?(_ key: ProofKey) {
        guard let signer = try? key.key.signer(key.algorithm) else { return nil }
        self.signer = signer
        let text = #"{"typ":"dpop+jwt","alg":"\#(key.algorithm.rawValue)","jwk":\#(key.key.publicKey.jwk)}"#
        header = Array((Crypto.base64URL(Array(text.utf8)) + ".").utf8)
    }

    /// What a proof says of the access token that goes with it: base64url of its SHA-256, made once per credential.
    package static func tokenHash(_ accessToken: Secret) -> [UInt8] {
        Array(Crypto.base64URL(Crypto.sha256(accessToken.bytes)).utf8)
    }

    /// Appends the value of a DPoP field.
    ///
    /// - Parameters:
    ///   - method: as in the request line.
    ///   - origin: scheme and authority of the URL as the server knows it, e.g. `https://api.example.com`.
    ///   - target: path of the request; from "?" or "#" on it is left out, as RFC 9449 section 4.2 wants.
    ///   - tokenHash: from `tokenHash(_:)`; empty where no access token goes with the request.
    ///   - nonce: the server's last one; empty: none is known.
    ///   - tokenID: random octets, at least 12, new for each proof.
    ///   - issuedAt: seconds since 1970.
    /// - Returns: false where OpenSSL could not sign; `output` is then as it was.
    package func appendProof(
        method: Span<UInt8>, origin: Span<UInt8>, target: Span<UInt8>, tokenHash: Span<UInt8>, nonce: Span<UInt8>,
        tokenID: Span<UInt8>, issuedAt: Int64, to output: inout [UInt8]
    ) -> Bool {
        payload.removeAll(keepingCapacity: true)
        append(#"{"jti":""#)
        Base64.appendURLEncoded(tokenID, to: &payload)
        append(#"","htm":""#)
        appendText(method)
        append(#"","htu":""#)
        appendText(origin)
        appendText(target, untilQuery: true)
        append(#"","iat":"#)
        append(issuedAt)
        if !tokenHash.isEmpty {
            append(#","ath":""#)
            appendText(tokenHash)
            append(#"""#)
        }
        if !nonce.isEmpty {
            append(#","nonce":""#)
            appendText(nonce)
            append(#"""#)
        }
        append("}")
        return appendSigned(to: &output)
    }

    /// The same as a new array, for calls that are rare.
    package func proof(
        method: [UInt8], url: [UInt8], tokenHash: [UInt8] = [], nonce: [UInt8] = [], tokenID: [UInt8], issuedAt: Int64
    ) -> [UInt8]? {
        var output: [UInt8] = []
        let origin: [UInt8] = []
        let isSigned = appendProof(
            method: method.span, origin: origin.span, target: url.span, tokenHash: tokenHash.span, nonce: nonce.span,
            tokenID: tokenID.span, issuedAt: issuedAt, to: &output)
        return isSigned ? output : nil
    }

    private func appendSigned(to output: inout [UInt8]) -> Bool {
        let start = output.count
        let payload = self.payload
        output.append(contentsOf: header)
        Base64.appendURLEncoded(payload.span, to: &output)
        signature.removeAll(keepingCapacity: true)
        do {
            try signer.appendSignature(of: output.span.extracting(start..<output.count), to: &signature)
        } catch {
            output.removeSubrange(start...)
            return false
        }
        let signature = self.signature
        output.append(UInt8(ascii: "."))
        Base64.appendURLEncoded(signature.span, to: &output)
        return true
    }

    private func append(_ text: StaticString) {
        text.withUTF8Buffer { payload.append(contentsOf: $0) }
    }

    private func append(_ number: Int64) {
        guard number >= 10 else {
            payload.append(UInt8(ascii: "0") + UInt8(max(number, 0)))
            return
        }
        append(number / 10)
        payload.append(UInt8(ascii: "0") + UInt8(number % 10))
    }

    /// The inside of a JSON string. Octets that are not plain ASCII are left out: no URL, method or nonce has any.
    private func appendText(_ text: Span<UInt8>, untilQuery: Bool = false) {
        for index in text.indices {
            let byte = text[index]
            if untilQuery, byte == UInt8(ascii: "?") || byte == UInt8(ascii: "#") { return }
            guard byte >= 0x20, byte < 0x7F else { continue }
            if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") { payload.append(UInt8(ascii: "\\")) }
            payload.append(byte)
        }
    }
}
