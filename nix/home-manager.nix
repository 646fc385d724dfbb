# Home Manager: kache for one user. Settings become ~/.config/kache/config.toml.
{ package }:
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.programs.kache;
in
{
  imports = [ (import ./options.nix { inherit package; }) ];

  config = lib.mkIf cfg.enable {
    home.packages = [ cfg.package ];
    home.sessionVariables = lib.optionalAttrs cfg.wrapper { RUSTC_WRAPPER = "${cfg.package}/bin/kache"; };
    xdg.configFile = lib.optionalAttrs (cfg.settings != { }) {
      "kache/config.toml".source = (pkgs.formats.toml { }).generate "kache-config.toml" cfg.settings;
    };
    systemd.user.services = lib.optionalAttrs cfg.uploader.enable {
      kache = {
        Unit.Description = "kache's uploader";
        Install.WantedBy = [ "default.target" ];
        Service = {
          ExecStart = "${cfg.package}/bin/kache daemon run";
          Restart = "on-failure";
        };
      };
    };
  };
}
