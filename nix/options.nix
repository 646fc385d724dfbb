# The options that both modules share.
{ package }:
{ lib, pkgs, ... }:
{
  options.programs.kache = {
    enable = lib.mkEnableOption "kache, a compile cache for Rust";

    package = lib.mkOption {
      type = lib.types.package;
      default = package pkgs;
      defaultText = lib.literalExpression "kache.packages.\${system}.default";
      description = "The kache to install.";
    };

    wrapper = lib.mkOption {
      type = lib.types.bool;
      default = true;
      description = "Whether Cargo calls kache: sets RUSTC_WRAPPER.";
    };

    settings = lib.mkOption {
      type = lib.types.attrsOf lib.types.anything;
      default = { };
      example = {
        cache.local_max_size = "20GiB";
        cache.remote.bucket = "my-build-cache";
      };
      description = ''
        What goes into config.toml; `kache config --show` lists all keys. Keys of S3 do not belong here: the Nix store
        can be read by everybody.
      '';
    };

    uploader.enable = lib.mkEnableOption "the uploader as a service of the user; builds start one by themselves otherwise";
  };
}
