{
  description = "kache: a compile cache for Rust that ships as one file";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      # What nixpkgs no longer has, we do not have either.
      systems = builtins.filter (system: nixpkgs.legacyPackages ? ${system}) [
        "x86_64-linux"
        "aarch64-linux"
        "x86_64-darwin"
        "aarch64-darwin"
      ];
      eachSystem =
        make:
        builtins.listToAttrs (
          map (system: {
            name = system;
            value = make nixpkgs.legacyPackages.${system};
          }) systems
        );
      package = import ./nix/package.nix;
      lib = import ./nix/lib.nix { inherit package; };
    in
    {
      inherit lib;

      packages = eachSystem (pkgs: {
        default = package pkgs;
      });

      apps = eachSystem (pkgs: {
        default = {
          type = "app";
          program = "${package pkgs}/bin/kache";
          meta.description = "a compile cache for Rust that ships as one file";
        };
      });

      overlays.default = final: _: { kache = package final; };

      # To work on kache itself.
      devShells = eachSystem (pkgs: {
        default = lib.mkKacheShell pkgs {
          toolchain = [
            pkgs.rustc
            pkgs.cargo
            pkgs.clippy
          ];
          packages = [ pkgs.python3 ];
        };
      });

      nixosModules.default = import ./nix/nixos.nix { inherit package; };
      homeManagerModules.default = import ./nix/home-manager.nix { inherit package; };

      checks = eachSystem (pkgs: import ./nix/checks.nix { inherit pkgs package lib; });

      formatter = eachSystem (pkgs: pkgs.nixfmt);
    };
}
