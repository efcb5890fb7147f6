import OpenSSLKit
import Testing

@testable import OAuth

struct ServiceAccountKeyTests {
    /// The shape that Google documents; not a key.
    private func file(
        _ changes: [String: JSONValue?] = [:]
    ) -> [UInt8] {
        var members: [String: JSONValue] = [
            "type": .string("service_account"), "project_id": .string("project"),
            "private_key_id": .string("0123456789abcdef"),
            "private_key": .string(Self.pem),
            "client_email": .string("robot@project.iam.gserviceaccount.com"), "client_id": .string("123"),
            "token_uri": .string("https://oauth2.googleapis.com/token"),
        ]
        for (name, value) in changes { members[name] = value }
        return JSONValue.object(members).encoded()
    }

    @Test func `the file is read`() throws {
        let key = try ServiceAccountKey.read(file()).get()
        #expect(key.clientEmail == "robot@project.iam.gserviceaccount.com")
        #expect(key.key.keyID == "0123456789abcdef" && key.key.algorithm == .rs256 && key.key.key.kind == .rsa)
        #expect(key.tokenEndpoint.description == "https://oauth2.googleapis.com/token")
    }

    @Test(arguments: ["type", "client_email", "private_key", "private_key_id", "token_uri"])
    func `a member that is missing, empty or no text is named`(member: String) {
        for value in [nil, .some(.string("")), .some(.number("1")), .some(.null)] as [JSONValue?] {
            let problem: ServiceAccountKey.Problem? =
                if case .failure(let problem) = ServiceAccountKey.read(file([member: value])) { problem } else { nil }
            let isEmptyType = member == "type" && value == .string("")
            #expect(problem == (isEmptyType ? .otherType("") : .missing(member)))
        }
    }

    @Test(arguments: [
        ("authorized_user", "person's credentials"), ("external_account", "token exchange"),
        ("x\u{1B}[2J", "\"x?[2J\" instead"),
    ])
    func `another kind of file is told apart`(type: String, words: String) {
        guard case .failure(let problem) = ServiceAccountKey.read(file(["type": .string(type)])) else {
            Issue.record("accepted")
            return
        }
        #expect(problem.explanation.contains(words))
    }

    @Test(arguments: [
        "http://oauth2.googleapis.com/token", "file:///etc/passwd", "x", "https://user@oauth2.googleapis.com/token",
        "http://127.0.0.1/token",
    ])
    func `a token_uri that is not https is refused`(uri: String) {
        #expect(ServiceAccountKey.read(file(["token_uri": .string(uri)])) == .failure(.badTokenURI))
    }

    @Test func `plaintext on loopback is taken only where it is allowed`() {
        let content = file(["token_uri": .string("http://127.0.0.1:8000/token")])
        #expect((try? ServiceAccountKey.read(content, plaintextOnLoopback: true).get()) != nil)
    }

    @Test(
        arguments: [
            ([], .notJSON), (Array("[]".utf8), .notJSON), (Array("-----BEGIN PRIVATE KEY-----".utf8), .notJSON),
            (Array("{".utf8), .notJSON), ([0xFF], .notJSON), ([UInt8](repeating: 0x20, count: 65_537), .tooLong),
        ] as [([UInt8], ServiceAccountKey.Problem)])
    func `what is no key file is refused`(content: [UInt8], problem: ServiceAccountKey.Problem) {
        #expect(ServiceAccountKey.read(content) == .failure(problem))
    }

    @Test(arguments: [
        "c2VjcmV0", "-----BEGIN PRIVATE KEY-----\nc2VjcmV0LWtleQ==\n-----END PRIVATE KEY-----\n", Self.ec,
    ])
    func `a key that Google would not have given is refused without telling what it is`(pem: String) {
        guard case .failure(.badKey(let reason)) = ServiceAccountKey.read(file(["private_key": .string(pem)])) else {
            Issue.record("accepted")
            return
        }
        #expect(reason.contains("private_key") && !reason.contains("c2Vj"))
    }

    @Test func `no key is in any description`() throws {
        let key = try ServiceAccountKey.read(file()).get()
        var text = "\(key) \(String(reflecting: key)) \(UnattendedGrant.jwtBearer(key.claims()))"
        dump(key, to: &text)
        dump(key.claims(), to: &text)
        #expect(!text.contains("BEGIN") && !text.contains("MIIE"))
    }

    @Test func `its claims are as Google wants them`() throws {
        let key = try ServiceAccountKey.read(file()).get()
        let own = key.claims()
        #expect(own.issuer == key.clientEmail && own.audience == "https://oauth2.googleapis.com/token")
        #expect(own.scopePlace == .claim && own.subject == nil && own.lifetime == 3_600_000)
        #expect(key.claims(subject: "ann@example.com").subject == "ann@example.com")
    }

    /// RFC 7515 appendix A.2: not in use anywhere.
    static let pem = """
        -----BEGIN PRIVATE KEY-----
        MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQCh+BYK4uPJtGXO
        jS1lYmM2K5J9vinh8CR3/BYlzJChNuOL2TSXxbbqY913EeZ8dCn5VrD7io8ImtxL
        aYk8wTM/U+3QGbh3hCUv7JFP5IV3aVlL6kKA0ywPVb9ilE8TA5a8bpvfbr3SvaNn
        juygxmj3AbONv/s4yDQs4v5tJ/reSlpIdJed1LnPmt7Ex1sFhSwsD174pcF1A5L5
        ROjtZMEQxrZHYJqkeDrrnGya11UxMFBji4NmXG9veoKjlnAqH2QbgtPr8jkiGUkf
        toaHLFcW9Qr4NY2ai50Xw0Byj3+H2JoY2PyrZ62EWQwuz3WTOTY8BwNNb2BvniHg
        VFbK5emhAgMBAAECggEAEq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyW
        PEAeP88vLNO97IjlA7/GQ5sLKMgvfTeXZx9SE+7YwVol2NXOoAJe46sui395IW/G
        O+pWJ1O0BkTGoVEn2bKVRUCgu+GjBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3Mkqzj
        kn439X0M/V51gfpRLI9JYanrC4D4qAdGcopV/0ZHHzQlBjudU2QvXt4ehNYTCBr6
        XCLQUShb1juUO1ZdiYoFaFQT5Tw8bGUl/x/jTj3ccPDVZFD9pIuhLhBOneufuBiB
        4cS98l2SR/RQyGWSeWjnczT0QU91p1DhOVRuOopznQKBgQDgHMQQ60imZV1URk0K
        pLttoLhyt3SmqdEf/kgHePDdtzEafpAu+cS191R2JiuoF2yzWXnwFDcqGigp5BNr
        0AHQfD8/Lk8l1Mk09jxxCfui5nYooNyac8YFjm3vItzVCVDnEd3BbVWG8qf6deqE
        lMGAg+C2V0L4oNXnP7LZcPAZRwKBgQC5A8R+CZW2MvRTLLHzwZkUXV866cff7tx6
        kqa0finGG0KgeqlaZPxgCZnFp7AeAcCMtiynVlJ7vMVgePsLq6XtON4tB5kP9jAP
        rq3rbAOal78eUH5OcED6eNuCV8ixEu1eWcPNCS/l1OW1EnXUEoEHKl54Xrrz2uNw
        kgMTP1FZ1wKBgAcCn1dwJKufzBWQxWQp1vsM5fggqPN1qGb5y0MAk3g7/Ls5bkUp
        5u9SN0Ai3Ya6hNnvWJMb7sXQX6U/zyO2M/hTip7tUeh7CXgwo59dkpN75gJLVds2
        9+DAncu3KXU4f2Fa+7bLNrur53k8KwPOq2bbuTG69QtV7Jr5MR0AHWKNAoGBAIf/
        evpitUf+4JYbLpvNXWcY052Mpz22aR84mY3nh3F2LF2mjMJDpTg7FmuyPcVw6EcG
        yoAe9fa65iNqCq+jdw6PVNGo2hxfjSiZ8IIzHdsPXI89//pMjZcQK9r+CCoRjaZj
        OYiIDktVWZzmevJuv6WywUqd57LE3Zar3dLSIkx1AoGAIYd7DHOhrWvxkwPQsRM2
        tOgrjbcrfvtQJipd+DlcxyVuuM9sQLdgjVk2oy26F0EmpScGLq2MowX7fhd/QJQ3
        ydy5cY7YIBi87w93IKLEdfnbJtoOPLUW0ITrJReOgo1cq9SbsxYawBgfp/gh6A56
        03k2+ZQwVK0JKSHuLFkuQ3U=
        -----END PRIVATE KEY-----
        """
    /// RFC 7515 appendix A.3: of the right form and the wrong kind.
    static let ec = """
        -----BEGIN PRIVATE KEY-----
        MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgjpsQnnGQmL+YBIff
        H1136cspYG6+0iY7X1fCE9+E9LKhRANCAAR/zc4ncPbEXUGDy+5v20t7WAczNXvp
        7xO6z248e9FURcfxRM0bvZt+hyzf7bnuufSzaV1uqQskrYpGIyiFiOWt
        -----END PRIVATE KEY-----
        """
}
