import HTTP
import OAuth
import OpenSSLKit
import Proxy
import Reactor

/// The key that a credential is bound to, ready to sign; one for a grant and worker, as long as the credential is the
/// same.
final class CredentialSigner {
    /// Of the credential.
    let key: UInt64
    let signer: ProofSigner
    /// Of the access token.
    let tokenHash: [UInt8]

    /// Nil: the credential has no key, or what it has is none.
    init?(_ credential: Proxy.Credential) {
        guard let encoded = credential.proofKey,
            let signer = ProofSigner(encoded: Secret(String(decoding: encoded, as: UTF8.self)))
        else { return nil }
        key = credential.key
        self.signer = signer
        // The token stands behind its scheme.
        tokenHash = credential.withHeaderValue { value in
            let start = Octet.firstIndex(of: 0x20, in: value).map { $0 + 1 } ?? 0
            return ProofSigner.tokenHash(Secret(String(decoding: value[start...], as: UTF8.self)))
        }
    }
}

/// Proofs of possession for requests upstream (RFC 9449).
extension Worker {
    /// The proof for the attempt that is about to be sent; nil when none can be made.
    func makeProof(_ exchange: Exchange, _ connection: UpstreamConnection) -> [UInt8]? {
        guard let credential = exchange.credential, let route = exchange.route,
            let identity = exchange.upstreamIdentity, let signer = signer(exchange, credential)
        else { return nil }
        proofScratch.removeAll()
        RequestTransform.writeProofMethod(
            exchange.request, upgrade: exchange.wantsUpgrade, toHTTP2: connection.session != nil, to: &proofScratch)
        let method = proofScratch.array()
        proofScratch.removeAll()
        RequestTransform.writeProofTarget(exchange.request, rule: route.rule, upstream: identity, to: &proofScratch)
        return signer.signer.proof(
            method: method, url: proofScratch.array(), tokenHash: signer.tokenHash,
            nonce: connection.runtime.proofNonce, tokenID: SystemRandom.bytes(16), issuedAt: WallClock.seconds())
    }

    private func signer(_ exchange: Exchange, _ credential: Proxy.Credential) -> CredentialSigner? {
        if let known = exchange.grant?.signer, known.key == credential.key { return known }
        let signer = CredentialSigner(credential)
        exchange.grant?.signer = signer
        return signer
    }

    /// Keeps the nonce of a response for the next proof, and keeps it from the caller, whom it does not concern.
    ///
    /// - Returns: true when the response refuses the proof for want of it.
    func takeNonce(_ exchange: Exchange) -> Bool {
        guard exchange.credential?.proofKey != nil, let runtime = exchange.runtime else { return false }
        let nonce = ProofNonce.find(in: exchange.response)
        if let nonce { runtime.proofNonce = Array(exchange.response.bytes(nonce)) }
        let isWanted = nonce != nil && ProofNonce.isWanted(exchange.response)
        let name: StaticString = "dpop-nonce"
        name.withUTF8Buffer { exchange.response.drop(named: UnsafeRawBufferPointer($0)) }
        return isWanted
    }
}
