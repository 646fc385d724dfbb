# NixOS: kache for all users. Settings become /etc/kache/config.toml, which KACHE_CONFIG names: a project's own
# .kache.toml is then not read.
{ package }:
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.programs.kache;
  hasSettings = cfg.settings != { };
in
{
  imports = [ (import ./options.nix { inherit package; }) ];

  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ cfg.package ];
    environment.variables =
      lib.optionalAttrs cfg.wrapper { RUSTC_WRAPPER = "${cfg.package}/bin/kache"; }
      // lib.optionalAttrs hasSettings { KACHE_CONFIG = "/etc/kache/config.toml"; };
    environment.etc = lib.optionalAttrs hasSettings {
      "kache/config.toml".source = (pkgs.formats.toml { }).generate "kache-config.toml" cfg.settings;
    };
    systemd.user.services = lib.optionalAttrs cfg.uploader.enable {
      kache = {
        description = "kache's uploader";
        wantedBy = [ "default.target" ];
        serviceConfig = {
          ExecStart = "${cfg.package}/bin/kache daemon run";
          Restart = "on-failure";
        };
      };
    };
  };
}
