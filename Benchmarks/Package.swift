// swift-tools-version: 6.3
import Foundation
import PackageDescription

// The micro-benchmarks: a package of their own, so that the root's build and products know nothing of them. What they
// measure is package-level API, which ends at a package's edge: so the sources are compiled here, through the links in
// Linked/, with the settings of the root's manifest.

let common: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
]
let strict = common + [.strictMemorySafety()]
let hot: [SwiftSetting] = [.unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release))]

/// HTTP/2 comes with its C library; a tree without it has HTTP/1 only.
let hasHTTP2 = FileManager.default.fileExists(atPath: Context.packageDirectory + "/../Sources/CNghttp2")
let http2Targets: [Target] =
    hasHTTP2 ? [.target(name: "CNghttp2", path: "Linked/CNghttp2", linkerSettings: [.linkedLibrary("nghttp2")])] : []
let http2Dependencies: [Target.Dependency] = hasHTTP2 ? ["CNghttp2"] : []

let package = Package(
    name: "benchmarks",
    targets: http2Targets + [
        .target(
            name: "COpenSSL", path: "Linked/COpenSSL",
            linkerSettings: [.linkedLibrary("ssl"), .linkedLibrary("crypto")]
        ),
        .target(
            name: "OpenSSLKit", dependencies: ["COpenSSL"], path: "Linked/OpenSSLKit", swiftSettings: strict + hot),
        .target(name: "Telemetry", path: "Linked/Telemetry", swiftSettings: common + hot),
        .target(name: "HTTP", dependencies: http2Dependencies, path: "Linked/HTTP", swiftSettings: strict + hot),
        .target(name: "Proxy", dependencies: ["HTTP"], path: "Linked/Proxy", swiftSettings: common + hot),
        .target(name: "CAllocationCounter", path: "Linked/CAllocationCounter", exclude: ["preload"]),
        .target(name: "CProcessorCounter", path: "CProcessorCounter"),
        .executableTarget(
            name: "micro-benchmarks",
            dependencies: ["CAllocationCounter", "CProcessorCounter", "HTTP", "OpenSSLKit", "Proxy", "Telemetry"],
            path: "Micro", swiftSettings: common + hot),
    ]
)
