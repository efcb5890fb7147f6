import Telemetry
import Testing

@testable import Console

@Suite struct DeviceTests {
    private static let prompt = DeviceReply(
        userCode: "WDJB-MJHT", verificationURI: "https://as.example/device",
        verificationURIComplete: "https://as.example/device?c=WDJB-MJHT",
        expiresAt: Timestamp(unixSeconds: 1_795_358_963), interval: 5)

    @Test func `a device authorization is begun and answered with what to show`() throws {
        let harness = Harness()
        let answer = try #require(
            harness.perform(
                "POST", "/api/v1/grants/crm/device", fields: [Harness.json], outcome: .deviceStarted(Self.prompt)))
        #expect(answer.command == .startDevice(grant: "crm") && answer.response.status == 200)
        #expect(
            answer.response.text
                == #"{"expires_at":"\#(Self.prompt.expiresAt.rfc3339)","interval":5,"user_code":"WDJB-MJHT","verification_uri":"https://as.example/device","verification_uri_complete":"https://as.example/device?c=WDJB-MJHT"}"#
                + "\n")
        #expect(try ConsoleJSON.decode(DeviceReply.self, from: answer.response.body) == Self.prompt)
        #expect(answer.response.field("Cache-Control") == "no-store")
    }

    @Test(arguments: DeviceStatus.State.allCases)
    func `its state is told`(state: DeviceStatus.State) throws {
        let status = DeviceStatus(
            state, prompt: state == .waiting ? Self.prompt : nil, reason: state == .failed ? "because" : nil,
            notes: state == .connected ? ["no_refresh_token"] : nil)
        let answer = try #require(
            Harness().perform("GET", "/api/v1/grants/crm/device", outcome: .deviceStatus(status)))
        #expect(answer.command == .deviceStatus(grant: "crm"))
        #expect(try ConsoleJSON.decode(DeviceStatus.self, from: answer.response.body) == status)
    }

    @Test func `a refresh token is handed over, and the grant comes back`() throws {
        let harness = Harness()
        let answer = try #require(
            harness.perform(
                "POST", "/api/v1/grants/crm/import", fields: [Harness.json],
                body: #"{"refresh_token":"1//0g a~"}"#, outcome: .imported(sampleGrant())))
        #expect(answer.command == .importToken(grant: "crm", refreshToken: "1//0g a~"))
        #expect(answer.response.status == 200)
        #expect(try ConsoleJSON.decode(GrantView.self, from: answer.response.body).name == "crm")
        #expect(!answer.response.text.contains("1//0g"))
    }

    @Test(arguments: [
        ("", "malformed_request"), ("{}", "malformed_request"), ("[]", "malformed_request"),
        (#"{"refresh_token":1}"#, "malformed_request"), (#"{"refresh_token":null}"#, "malformed_request"),
        (#"{"refresh_token":""}"#, "unusable_token"), (#"{"refresh_token":"a\nb"}"#, "unusable_token"),
        (#"{"refresh_token":"a\u0000"}"#, "unusable_token"), (#"{"refresh_token":"ä"}"#, "unusable_token"),
        (#"{"refresh_token":"\#(String(repeating: "a", count: 32_769))"}"#, "unusable_token"),
    ])
    func `what is no refresh token is refused before anything is asked`(body: String, code: String) {
        let response = Harness().respond("POST", "/api/v1/grants/crm/import", fields: [Harness.json], body: body)
        #expect(response?.status == 400 && response?.code == code)
    }

    @Test(arguments: [
        ("GET", "/api/v1/grants/crm/import", "POST"), ("DELETE", "/api/v1/grants/crm/device", "GET, HEAD, POST"),
        ("PUT", "/api/v1/grants/crm/import", "POST"),
    ])
    func `other methods are refused`(method: String, target: String, allow: String) {
        let response = Harness().respond(method, target)
        #expect(response?.status == 405 && response?.field("Allow") == allow)
    }

    @Test(arguments: ["device", "import"])
    func `a form of another site's page, a stranger and another site come to nothing`(action: String) {
        let target = "/api/v1/grants/crm/\(action)"
        let body = #"{"refresh_token":"r"}"#
        let form = Harness().respond("POST", target, fields: [Harness.form], body: "refresh_token=r")
        #expect(form?.status == 415)
        let stranger = Harness(withSecret: true).respond("POST", target, fields: [Harness.json], body: body)
        #expect(stranger?.status == 401)
        let cross = Harness().respond(
            "POST", target, fields: [Harness.json, ("Sec-Fetch-Site", "cross-site")], body: body)
        #expect(cross?.status == 403)
        #expect(Harness(withSecret: true).respond("GET", "/api/v1/grants/crm/device")?.status == 401)
    }

    @Test(
        arguments: [
            (.unattended, 409), (.deviceNotSupported, 409), (.importRefused, 422), (.unusableToken, 400),
        ] as [(ConsoleFailure.Code, Int)])
    func `a failure has its status and says what to do`(code: ConsoleFailure.Code, status: Int) throws {
        let answer = try #require(
            Harness().perform(
                "POST", "/api/v1/grants/crm/device", fields: [Harness.json], outcome: .failed(ConsoleFailure(code))))
        let problem = try ConsoleJSON.decode(Problem.self, from: answer.response.body)
        #expect(problem.status == status && problem.code == code.rawValue && problem.detail?.isEmpty == false)
    }

    @Test func `no description has a token or a code`() {
        let command = ConsoleCommand.importToken(grant: "crm", refreshToken: "very-secret")
        #expect("\(command)" == "import_token")
        #expect(!"\(ImportOrder(refreshToken: "very-secret")) \(Self.prompt)".contains("very-secret"))
        #expect(!"\(Self.prompt)".contains("WDJB"))
    }
}
