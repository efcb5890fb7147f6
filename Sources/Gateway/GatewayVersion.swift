/// The version of this program, as in CHANGELOG.md.
package let gatewayVersion = "0.1.0"
